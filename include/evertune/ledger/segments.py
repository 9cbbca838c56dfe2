"""The segments of the traffic log that were drained: one row each, never one an answer.

With each goes one row a project into the queue of what is to be cut into windows: see ``windows.py``. Both go when
the retention has removed what they tell of.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select
from sqlalchemy.orm import Session

from evertune.ledger.engine import reading, writing
from evertune.ledger.tables import SegmentRow
from evertune.ledger.traffic_tables import CutRow
from evertune.records import Record

SPREAD = timedelta(hours=2)
"""What a segment holds is at most so much younger than its opening: an hour of writing, in whole hours."""
PAGE = 200
"""Rows of a project that are removed at once, so that no writer waits for long."""


class Segment(Record):
    """One drained segment of the traffic log."""

    id: str
    """Hexadecimal, 16 digits; unique, and in the order of time."""
    node: str
    """The folder of the server that wrote it."""
    opened: datetime
    closed: datetime
    records: int
    bytes: int
    damaged: int
    """Bytes that were no whole record: torn by a crash, or changed since."""
    hours: dict[str, dict[str, int]]
    """Project → hour (``2026-11-22/18``) → records of it."""
    folder: str
    """Where its Parquet files lie."""


def record(engine: Engine, segment: Segment) -> bool:
    """Insert the row once; ``False`` where it was there: a drain that was killed tells it again."""
    with writing(engine) as session:
        if session.get(SegmentRow, segment.id) is not None:
            return False
        session.add(SegmentRow(**segment.model_dump()))
        session.flush()
        session.add_all(CutRow(project=slug, segment=segment.id, cut=0, lost=0) for slug in segment.hours)
        return True


def all(engine: Engine) -> list[Segment]:  # noqa: A001 - reads as `segments.all`
    """Every drained segment, in the order in which they were opened."""
    with reading(engine) as session:
        rows = session.scalars(select(SegmentRow).order_by(SegmentRow.id))
        return [Segment.model_validate({name: getattr(row, name) for name in Segment.model_fields}) for row in rows]


def forget(engine: Engine, kept_since: Mapping[str, datetime]) -> int:
    """Remove rows of segments of which nothing is kept, the oldest first and not too many; returns how many went.

    ``kept_since``: project → its hours that ended before have been removed. Of other projects everything stays, and
    so does what tells of lost records.
    """
    gone = 0
    for project, since in kept_since.items():
        with reading(engine) as session:
            old = _oldest(session, project, since - SPREAD)
        if old:
            with writing(engine) as session:
                gone += _remove(session, project, old)
    return gone


def _oldest(session: Session, project: str, before: datetime) -> list[str]:
    query = (
        select(CutRow.segment, SegmentRow.opened)
        .join(SegmentRow, SegmentRow.id == CutRow.segment)
        .where(CutRow.project == project, CutRow.lost == 0)
        .order_by(CutRow.segment)
        .limit(PAGE)
    )
    return [segment for segment, opened in session.execute(query) if opened < before]


def _remove(session: Session, project: str, old: list[str]) -> int:
    session.execute(delete(CutRow).where(CutRow.project == project, CutRow.segment.in_(old)))
    rows = session.scalars(select(SegmentRow).where(SegmentRow.id.in_(old))).all()
    whole = [row.id for row in rows if not any(session.get(CutRow, (slug, row.id)) for slug in row.hours)]
    session.execute(delete(SegmentRow).where(SegmentRow.id.in_(whole)))
    return len(whole)
