"""Requests to retrain. The clock, a person and an alert each insert one; ``runs.claim`` absorbs them.

They are rows and not events of Airflow, because those are no queue: they get stranded, doubled and lost.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, select, update
from sqlalchemy.orm import Session

from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.events import Kind
from evertune.ledger.tables import EventRow, RunRow, TriggerRow
from evertune.project.options import SLUG
from evertune.records import Cause, EvertuneError, Trigger

VERDICT, UNANSWERED = "verdict", "unanswered"
FIRST_PAUSE, LONGEST_PAUSE = timedelta(hours=1), timedelta(days=1)
PENDING = (TriggerRow.run_key.is_(None), TriggerRow.closed.is_(None))


def request(  # noqa: PLR0917 - the columns of one row
    engine: Engine, project: str, cause: Cause, key: str, reason: str, generation: int | None = None
) -> bool:
    """Ask for a run. ``False`` where this key was there already, whatever has become of it.

    ``generation`` is the release that an alert accuses. The project's slug becomes part of names of folders, so
    anything else is refused.
    """
    with writing(engine) as session:
        return insert(session, project, cause, key, reason, generation)


def insert(  # noqa: PLR0917 - the columns of one row
    session: Session, project: str, cause: Cause, key: str, reason: str, generation: int | None = None
) -> bool:
    """The same within the caller's write transaction."""
    if not re.fullmatch(SLUG, project):
        raise EvertuneError(f"{project!r} is no project's slug: lower-case letters, digits and single dashes.")
    if find(session, project, key) is not None:
        return False
    session.add(
        TriggerRow(
            project=project,
            cause=cause.value,
            key=key,
            reason=printable(reason),
            generation=generation,
            created=clock(session),
            runs=0,
        )
    )
    return True


def find(session: Session, project: str, key: str) -> TriggerRow | None:
    """The request of this key, whatever has become of it."""
    return session.scalar(select(TriggerRow).where(TriggerRow.project == project, TriggerRow.key == key))


def unheard_from(engine: Engine, project: str) -> datetime | None:
    """From when on somebody is to be woken for a run that an alert asked for; ``None`` where none is asked for.

    At once where nobody has begun it; where its last run failed, or its owner is gone, after a pause that doubles each
    time: a project whose schedule is off has no clock that would come by, and what fails must not fail all day.
    """
    asked = select(TriggerRow.runs).where(
        TriggerRow.project == project, TriggerRow.cause == Cause.ALERT.value, TriggerRow.closed.is_(None)
    )
    with reading(engine) as session:
        begun = session.scalars(asked).all()
        last = session.scalar(select(RunRow).where(RunRow.project == project).order_by(RunRow.id.desc()).limit(1))
        if not begun:
            return None
        if last is None or 0 in begun:
            return datetime.min.replace(tzinfo=UTC)
        return (last.ended or last.lease_until) + min(map(pause, begun))


def pause(runs: int) -> timedelta:
    """How long after the last of so many runs that came to nothing somebody is woken again."""
    return min(FIRST_PAUSE * (1 << min(runs - 1, 10)), LONGEST_PAUSE)


def begun_for_alerts(session: Session, project: str, most: int = 1000) -> list[datetime]:
    """When runs were begun that alerts had asked for, newest first: of one that failed and was begun again, each."""
    asked = select(TriggerRow.key).where(TriggerRow.project == project, TriggerRow.cause == Cause.ALERT.value)
    keys = set(session.scalars(asked.order_by(TriggerRow.id.desc()).limit(most)))
    started = select(EventRow).where(EventRow.project == project, EventRow.kind == Kind.STARTED.value)
    rows = session.scalars(started.order_by(EventRow.id.desc()).limit(most))
    return [datetime.fromisoformat(row.created) for row in rows if keys & set(json.loads(row.payload)["triggers"])]


def retrains(session: Session, project: str) -> list[datetime]:
    """When retrains for drift were begun, or asked for where nobody has begun them yet; newest first."""
    waiting = select(TriggerRow.created).where(
        TriggerRow.project == project, TriggerRow.cause == Cause.ALERT.value, *PENDING, TriggerRow.runs == 0
    )
    return sorted([*session.scalars(waiting), *begun_for_alerts(session, project)], reverse=True)


def pending(engine: Engine, project: str) -> list[Trigger]:
    """The requests that no run has absorbed yet, oldest first."""
    query = select(TriggerRow).where(TriggerRow.project == project, *PENDING).order_by(TriggerRow.id)
    with reading(engine) as session:
        return [
            Trigger(
                project=row.project,
                cause=Cause(row.cause),
                key=row.key,
                reason=row.reason,
                generation=row.generation,
                created=row.created,
            )
            for row in session.scalars(query)
        ]


def take(session: Session, project: str, generation: int, now: datetime) -> Sequence[TriggerRow]:
    """The pending ones, oldest first, after closing those that accuse another release than the one that answers."""
    close_outdated(session, project, generation, now)
    query = select(TriggerRow).where(TriggerRow.project == project, *PENDING).order_by(TriggerRow.id)
    return session.scalars(query).all()


def close_outdated(session: Session, project: str, generation: int, now: datetime) -> None:
    """Close the pending ones that accuse another release than the one that answers."""
    accuses_another = TriggerRow.generation.is_not(None) & (TriggerRow.generation != generation)
    stale = update(TriggerRow).where(TriggerRow.project == project, *PENDING, accuses_another)
    session.execute(stale.values(closed=now, answer=UNANSWERED))


def close(session: Session, run_key: str, now: datetime) -> None:
    """The run's verdict has answered what it absorbed."""
    absorbed = update(TriggerRow).where(TriggerRow.run_key == run_key, TriggerRow.closed.is_(None))
    session.execute(absorbed.values(closed=now, answer=VERDICT))


def give_back(session: Session, run_key: str) -> None:
    """The run failed: what it absorbed waits for the next one, so that no request is lost."""
    absorbed = update(TriggerRow).where(TriggerRow.run_key == run_key, TriggerRow.closed.is_(None))
    session.execute(absorbed.values(run_key=None))
