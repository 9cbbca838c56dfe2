"""How far each webhook has been told a project's events: a row a webhook, so that a dead one holds up no other.

Whoever delivers takes the row for a while first. So events arrive in their order even where a DAG, the monitor and a
person deliver at once, and one that is killed is followed by the next when its time has run out. What was sent and not
yet noted is sent again: at least once, each time with the same id.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, Engine, func, select
from sqlalchemy.orm import Session

from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import DeliveryRow, EventRow
from evertune.records import Record

HELD_S = 60
"""Seconds for which a row is taken; each event told takes it for as long again."""
FIRST_LOOK_BACK = timedelta(days=1)
"""A webhook that is new hears of what happened in the last day, not of all history."""


class Delivery(Record):
    """How far a webhook has been told."""

    project: str
    webhook: str
    until: int
    failures: int
    retry_at: datetime | None
    fault: str | None
    missed: int
    holder: str | None


def key_of(url: str) -> str:
    """What stands for an address in the ledger: it may hold a secret, so it is not stored."""
    return hashlib.sha256(url.encode()).hexdigest()[:32]


def take(engine: Engine, project: str, webhook: str, *, now: bool = False) -> Delivery | None:
    """Take the webhook's row to deliver; ``None`` where another does, or it is not time to try again.

    ``now`` tries although the last try failed a moment ago.
    """
    with writing(engine) as session:
        moment = clock(session)
        row = session.get(DeliveryRow, (project, webhook)) or _new(session, project, webhook, moment)
        if row.held_until is not None and row.held_until > moment:
            return None
        if row.retry_at is not None and row.retry_at > moment and not now:
            return None
        row.holder, row.held_until = uuid.uuid4().hex, moment + timedelta(seconds=HELD_S)
        return _entry(row)


def _new(session: Session, project: str, webhook: str, moment: datetime) -> DeliveryRow:
    old = (moment - FIRST_LOOK_BACK).isoformat(timespec="microseconds")
    before: ColumnElement[bool] = EventRow.created < old  # both are ISO 8601 in UTC: in order of time as texts
    last = session.scalar(select(func.max(EventRow.id)).where(EventRow.project == project, before))
    row = DeliveryRow(project=project, webhook=webhook, until=last or 0, failures=0, missed=0)
    session.add(row)
    return row


def told(engine: Engine, held: Delivery, until: int, *, missed: bool = False) -> Delivery | None:
    """Note that the webhook was told all up to this event; ``missed``: that this one was given up.

    Returns the row as it is now, its failures forgotten: they were of what has got through. ``None`` where another has
    taken it meanwhile: then stop, it goes on from there.
    """
    with writing(engine) as session:
        row = _held(session, held)
        if row is None:
            return None
        row.until, row.failures, row.retry_at, row.fault = until, 0, None, None
        row.missed += missed
        row.held_until = clock(session) + timedelta(seconds=HELD_S)
        return _entry(row)


def failed(engine: Engine, held: Delivery, fault: str, retry_s: float) -> None:
    """Note that a try failed and when the next is due; gives the row back."""
    with writing(engine) as session:
        row = _held(session, held)
        if row is None:
            return
        row.failures, row.fault = row.failures + 1, printable(fault)
        row.retry_at = clock(session) + timedelta(seconds=retry_s)
        row.holder = row.held_until = None


def give_back(engine: Engine, held: Delivery) -> None:
    """Done for now."""
    with writing(engine) as session:
        if (row := _held(session, held)) is not None:
            row.holder = row.held_until = None


def _held(session: Session, held: Delivery) -> DeliveryRow | None:
    row = session.get(DeliveryRow, (held.project, held.webhook))
    return row if row is not None and row.holder == held.holder else None


def all(engine: Engine, project: str) -> list[Delivery]:  # noqa: A001 - reads as `deliveries.all`
    """Every webhook that was ever told something of this project."""
    query = select(DeliveryRow).where(DeliveryRow.project == project).order_by(DeliveryRow.webhook)
    with reading(engine) as session:
        return [_entry(row) for row in session.scalars(query)]


def _entry(row: DeliveryRow) -> Delivery:
    return Delivery.model_validate({name: getattr(row, name) for name in Delivery.model_fields})
