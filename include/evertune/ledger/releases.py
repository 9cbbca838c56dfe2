"""Which release answers. Read here by everybody; written by ``evertune.releases.promote`` alone."""

from __future__ import annotations

from sqlalchemy import Engine, func, select, tuple_
from sqlalchemy.orm import Session

from evertune.ledger.engine import reading
from evertune.ledger.tables import ReleaseRow
from evertune.records import Release


def current(engine: Engine, project: str) -> Release | None:
    """The newest generation: the one that answers."""
    with reading(engine) as session:
        row = newest(session, project)
        return as_release(row) if row else None


def current_of_all(engine: Engine) -> dict[str, Release]:
    """The release that answers in each project that has one."""
    newest_of_each = select(ReleaseRow.project, func.max(ReleaseRow.generation)).group_by(ReleaseRow.project)
    query = select(ReleaseRow).where(tuple_(ReleaseRow.project, ReleaseRow.generation).in_(newest_of_each))
    with reading(engine) as session:
        return {row.project: as_release(row) for row in session.scalars(query)}


def history(engine: Engine, project: str) -> list[Release]:
    """All generations, newest first."""
    query = select(ReleaseRow).where(ReleaseRow.project == project).order_by(ReleaseRow.generation.desc())
    with reading(engine) as session:
        return [as_release(row) for row in session.scalars(query)]


def newest(session: Session, project: str) -> ReleaseRow | None:
    """The row of the release that answers, within the caller's transaction."""
    query = select(ReleaseRow).where(ReleaseRow.project == project).order_by(ReleaseRow.generation.desc()).limit(1)
    return session.scalar(query)


def as_release(row: ReleaseRow) -> Release:
    """The row as the record that travels."""
    return Release(
        project=row.project,
        generation=row.generation,
        model_version=row.model_version,
        digest=row.digest,
        run_key=row.run_key,
        kind=row.kind,
        approved_by=row.approved_by,
        traffic_share=row.traffic_share,
        created=row.created,
        reason=row.reason or "",
    )
