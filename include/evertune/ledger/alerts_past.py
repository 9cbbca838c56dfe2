"""What the ledger knows of alerts: those that stand, those that were answered, and what evidence is left of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from evertune.ledger import releases
from evertune.ledger.engine import reading
from evertune.ledger.tables import TriggerRow
from evertune.ledger.traffic_tables import AlertRow, FindingsRow, WindowRow
from evertune.records import Alert, AlertStatus, Evidence, Finding, Signal, Window

OF_LABELS = (Signal.F1, Signal.ERRORS)
STANDING = (AlertStatus.OPEN.value, AlertStatus.TRIGGERED.value)


class AlertEntry(Alert):
    """An alert as the ledger knows it."""

    until: int
    """Number of the last window that is in it."""
    closed: datetime | None = None
    """When it was answered, found outdated, or had faded."""


def evidence(engine: Engine, window: Window) -> Evidence:
    """What the window starts from: the evidence after the one before it of the same release.

    Nothing, after an alert was answered: what had gathered has had its consequence.
    """
    with reading(engine) as session:
        return evidence_before(session, window)


def evidence_before(session: Session, window: Window) -> Evidence:
    """The same within the caller's transaction."""
    before = select(FindingsRow).join(
        WindowRow, (WindowRow.project == FindingsRow.project) & (WindowRow.number == FindingsRow.window)
    )
    earlier = before.where(
        WindowRow.project == window.project,
        WindowRow.generation == window.generation,
        WindowRow.number < window.number,
    )
    last = session.scalar(earlier.order_by(WindowRow.number.desc()).limit(1))
    if last is None:
        return Evidence()
    found = Evidence.model_validate(last.evidence)
    answered = of(window.project, window.generation, AlertStatus.ANSWERED).where(AlertRow.closed > last.created)
    return Evidence(until=found.until) if session.scalar(answered.limit(1)) else found


def history(engine: Engine, project: str, limit: int = 50) -> list[AlertEntry]:
    """The latest alerts, newest first."""
    query = select(AlertRow).where(AlertRow.project == project).order_by(AlertRow.id.desc()).limit(limit)
    with reading(engine) as session:
        return [as_entry(row) for row in session.scalars(query)]


def standing(engine: Engine, project: str) -> AlertEntry | None:
    """The alert of the release that answers, until a verdict has answered it or it has faded."""
    with reading(engine) as session:
        row = session.scalar(of(project, generation_of(session, project), *map(AlertStatus, STANDING)).limit(1))
        return as_entry(row) if row else None


def open_one(engine: Engine, project: str) -> AlertEntry | None:
    """The alert that waits for the policy, of the newest release that has one."""
    query = select(AlertRow).where(AlertRow.project == project, AlertRow.status == AlertStatus.OPEN.value)
    with reading(engine) as session:
        row = session.scalar(query.order_by(AlertRow.generation.desc()).limit(1))
        return as_entry(row) if row else None


def absorbed(engine: Engine, project: str, run_key: str) -> list[AlertEntry]:
    """The alerts that this run answers, or has answered."""
    query = (
        select(AlertRow)
        .join(TriggerRow, (TriggerRow.project == AlertRow.project) & (TriggerRow.key == AlertRow.key))
        .where(AlertRow.project == project, TriggerRow.run_key == run_key)
        .order_by(AlertRow.id)
    )
    with reading(engine) as session:
        return [as_entry(row) for row in session.scalars(query)]


def answered_effects(engine: Engine, about: Window, findings: Sequence[Finding]) -> dict[Signal, float]:
    """How large the effect of each signal was, at most, when an alert was answered and the window's release stayed.

    An answered alert does not fire again, through whatever signal: only what has moved on from there does. Signals
    that it did not name count where they spoke for a drift: chance, in a window of few rows, must not deafen them.
    ``findings`` are those of the window itself, which is not recorded yet.
    """
    found: dict[Signal, float] = {}
    with reading(engine) as session:
        for alert in session.scalars(of(about.project, about.generation, AlertStatus.ANSWERED)):
            for one in _answered(session, alert, about, findings):
                if one.signal in alert.signals or one.e > 1:
                    found[one.signal] = max(found.get(one.signal, 0.0), one.effect)
    return found


def _answered(session: Session, alert: AlertRow, about: Window, findings: Sequence[Finding]) -> Iterator[Finding]:
    """What was found before the answer; and of labels given before it, which the run knew, also what was found after.

    Windows close after their labels came: those that let the policy ask for the run may be tested after its verdict.
    """
    closed = alert.closed
    assert closed is not None  # noqa: S101 - tells the type checker what an answered alert has
    later = select(func.min(WindowRow.number)).where(WindowRow.labels_until > closed)
    last = session.scalar(later.where(WindowRow.project == alert.project)) or about.number
    query = select(FindingsRow).where(
        FindingsRow.project == alert.project,
        FindingsRow.window >= alert.window,
        (FindingsRow.created <= closed) | (FindingsRow.window <= last),
    )
    for row in session.scalars(query):
        known = row.created <= closed
        yield from (one for one in map(Finding.model_validate, row.findings) if known or one.signal in OF_LABELS)
    if about.number <= last:
        yield from (one for one in findings if one.signal in OF_LABELS)


def of(project: str, generation: int, *statuses: AlertStatus) -> Select[AlertRow]:
    """The release's alerts of these kinds."""
    return select(AlertRow).where(
        AlertRow.project == project,
        AlertRow.generation == generation,
        AlertRow.status.in_([one.value for one in statuses]),
    )


def generation_of(session: Session, project: str) -> int:
    """Of the release that answers; 0: none."""
    newest = releases.newest(session, project)
    return newest.generation if newest else 0


def as_entry(row: AlertRow) -> AlertEntry:
    """The row as a record."""
    return AlertEntry.model_validate({name: getattr(row, name) for name in AlertEntry.model_fields})
