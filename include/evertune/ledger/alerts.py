"""What was found in windows, and the alerts that come of it: each raised once, ruled on until a retrain is asked for.

A window's findings, the evidence after it and the alert that it raises are one transaction; so are the ruling that lets
an alert start a retrain and the trigger. Whoever is killed between the two finds the alert open and rules again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from typing import NamedTuple

from sqlalchemy import Engine, Select, func, select
from sqlalchemy.orm import Session

from evertune.ledger import events, releases, triggers
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.past import active_row
from evertune.ledger.tables import TriggerRow, printable
from evertune.ledger.traffic_tables import AlertRow, FindingsRow, WindowRow
from evertune.records import (
    Alert,
    AlertStatus,
    Cause,
    Evidence,
    Explanation,
    Finding,
    Signal,
    StaleError,
    Window,
)

NOT_RULED = "The policy has not ruled on it yet."
OF_LABELS = (Signal.F1, Signal.ERRORS)
STANDING = (AlertStatus.OPEN.value, AlertStatus.TRIGGERED.value)


class AlertEntry(Alert):
    """An alert as the ledger knows it."""

    until: int
    """Number of the last window that is in it."""
    closed: datetime | None = None
    """When it was answered, or found outdated."""


class Standing(NamedTuple):
    """What the ledger knows that the policy goes by."""

    now: datetime
    """The database's time."""
    generation: int
    """That answers."""
    working: bool
    """Whether a run of the project is active."""
    retrains: tuple[datetime, ...]
    """When retrains for drift were asked for, newest first."""


Rule = Callable[[AlertEntry, Standing], tuple[bool, str]]
"""Whether the alert starts a retrain, and why or why not."""


def evidence(engine: Engine, window: Window) -> Evidence:
    """What the window starts from: the evidence after the one before it of the same release.

    Nothing, after an alert was answered: what had gathered has had its consequence.
    """
    before = select(FindingsRow).join(
        WindowRow, (WindowRow.project == FindingsRow.project) & (WindowRow.number == FindingsRow.window)
    )
    earlier = before.where(
        WindowRow.project == window.project,
        WindowRow.generation == window.generation,
        WindowRow.number < window.number,
    )
    with reading(engine) as session:
        last = session.scalar(earlier.order_by(WindowRow.number.desc()).limit(1))
        if last is None:
            return Evidence()
        found = Evidence.model_validate(last.evidence)
        answered = _of(window.project, window.generation, AlertStatus.ANSWERED).where(AlertRow.closed > last.created)
        return Evidence(until=found.until) if session.scalar(answered.limit(1)) else found


def record(
    engine: Engine,
    window: Window,
    findings: Sequence[Finding],
    after: Evidence,
    raised: Sequence[Signal],
    *,
    explanation: Explanation | None = None,
    labelled: int = 0,
    report: str = "",
) -> AlertEntry | None:
    """Keep what was found in the window, once, and raise or extend the alert of the signals that ``raised`` it.

    Windows are recorded in their order: :class:`StaleError` where one before has not been. Returns the standing alert
    of the window's release.
    """
    with writing(engine) as session:
        now = clock(session)
        if session.get(FindingsRow, (window.project, window.number)) is None:
            _check_order(session, window)
            session.add(
                FindingsRow(
                    project=window.project,
                    window=window.number,
                    findings=[one.model_dump(mode="json") for one in findings],
                    evidence=after.model_dump(mode="json"),
                    labelled=labelled,
                    report=report,
                    created=now,
                )
            )
            session.flush()
            _settle(session, window.project, now)
            if raised and window.generation == _generation(session, window.project):
                _raise(session, window, raised, explanation, now)
        row = session.scalar(_of(window.project, window.generation, *map(AlertStatus, STANDING)).limit(1))
        return _entry(row) if row else None


def _check_order(session: Session, window: Window) -> None:
    if window.number > 1 and session.get(FindingsRow, (window.project, window.number - 1)) is None:
        raise StaleError(
            f"Window {window.number} of {window.project} cannot be recorded before window {window.number - 1}: its "
            "evidence builds on that one's. Nothing was written; test the windows in their order."
        )


def _raise(
    session: Session, window: Window, raised: Sequence[Signal], explanation: Explanation | None, now: datetime
) -> None:
    row = session.scalar(_of(window.project, window.generation, *map(AlertStatus, STANDING)).limit(1))
    told = explanation.model_dump(mode="json") if explanation else None
    if row is None:
        key = f"drift-{window.generation}-{window.number}"
        signals = [one.value for one in raised]
        session.add(
            AlertRow(
                project=window.project,
                key=key,
                generation=window.generation,
                window=window.number,
                until=window.number,
                signals=signals,
                rows=window.rows,
                explanation=told,
                status=AlertStatus.OPEN.value,
                ruling=NOT_RULED,
                created=now,
            )
        )
        about = {"alert": key, "generation": window.generation, "window": window.number, "rows": window.rows}
        events.append(session, window.project, events.Kind.ALERT, {**about, "signals": signals})
    else:
        row.until, row.rows = window.number, row.rows + window.rows
        row.signals = list(dict.fromkeys([*row.signals, *(one.value for one in raised)]))
        row.explanation = told or row.explanation


def rule(engine: Engine, project: str, decide: Rule) -> AlertEntry | None:
    """Let the policy rule on the open alert of the release that answers; returns it as it is then, or ``None``.

    All in one transaction: what ``decide`` is told is still so when the trigger is inserted, and it must not wait for
    anything.
    """
    with writing(engine) as session:
        now = clock(session)
        _settle(session, project, now)
        generation = _generation(session, project)
        row = session.scalar(_of(project, generation, AlertStatus.OPEN))
        if row is None:
            return None
        asked = tuple(triggers.asked_by_alerts(session, project))
        retrain, why = decide(_entry(row), Standing(now, generation, _working(session, project, now), asked))
        row.ruling = printable(why)
        if retrain:
            reason = f"drift in window {row.window}: {', '.join(row.signals)}"
            triggers.insert(session, project, Cause.ALERT, row.key, reason, row.generation)
            row.status = AlertStatus.TRIGGERED.value
        return _entry(row)


def working(engine: Engine, project: str) -> bool:
    """Whether a run of the project is active and its owner alive, as far as its lease tells."""
    with reading(engine) as session:
        return _working(session, project, clock(session))


def _working(session: Session, project: str, now: datetime) -> bool:
    run = active_row(session, project)
    return run is not None and run.lease_until > now


def settle(engine: Engine, project: str) -> None:
    """Close the alerts that a verdict has answered, and those whose release no longer answers."""
    with writing(engine) as session:
        _settle(session, project, clock(session))


def _settle(session: Session, project: str, now: datetime) -> None:
    generation = _generation(session, project)
    for row in session.scalars(select(AlertRow).where(AlertRow.project == project, AlertRow.status.in_(STANDING))):
        trigger = triggers.find(session, project, row.key)
        if trigger is not None and trigger.answer == triggers.VERDICT:
            row.status, row.closed = AlertStatus.ANSWERED.value, now
        elif row.generation != generation and (trigger is None or trigger.run_key is None):
            row.status, row.closed = AlertStatus.OUTDATED.value, now
    triggers.close_outdated(session, project, generation, now)
    session.flush()


def history(engine: Engine, project: str, limit: int = 50) -> list[AlertEntry]:
    """The latest alerts, newest first."""
    query = select(AlertRow).where(AlertRow.project == project).order_by(AlertRow.id.desc()).limit(limit)
    with reading(engine) as session:
        return [_entry(row) for row in session.scalars(query)]


def standing(engine: Engine, project: str) -> AlertEntry | None:
    """The alert of the release that answers, until a verdict has answered it."""
    with reading(engine) as session:
        row = session.scalar(_of(project, _generation(session, project), *map(AlertStatus, STANDING)).limit(1))
        return _entry(row) if row else None


def open_one(engine: Engine, project: str) -> AlertEntry | None:
    """The alert that waits for the policy, of the newest release that has one."""
    query = select(AlertRow).where(AlertRow.project == project, AlertRow.status == AlertStatus.OPEN.value)
    with reading(engine) as session:
        row = session.scalar(query.order_by(AlertRow.generation.desc()).limit(1))
        return _entry(row) if row else None


def absorbed(engine: Engine, project: str, run_key: str) -> list[AlertEntry]:
    """The alerts that this run answers, or has answered."""
    query = (
        select(AlertRow)
        .join(TriggerRow, (TriggerRow.project == AlertRow.project) & (TriggerRow.key == AlertRow.key))
        .where(AlertRow.project == project, TriggerRow.run_key == run_key)
        .order_by(AlertRow.id)
    )
    with reading(engine) as session:
        return [_entry(row) for row in session.scalars(query)]


def answered_effects(engine: Engine, about: Window, findings: Sequence[Finding]) -> dict[Signal, float]:
    """How large the effect of each signal was, at most, when an alert was answered and the window's release stayed.

    An answered alert does not fire again, through whatever signal: only what has moved on from there does. Signals
    that it did not name count where they spoke for a drift: chance, in a window of few rows, must not deafen them.
    ``findings`` are those of the window itself, which is not recorded yet.
    """
    found: dict[Signal, float] = {}
    with reading(engine) as session:
        for alert in session.scalars(_of(about.project, about.generation, AlertStatus.ANSWERED)):
            for one in _answered(session, alert, about, findings):
                if one.signal in alert.signals or one.e > 1:
                    found[one.signal] = max(found.get(one.signal, 0.0), one.effect)
    return found


def _answered(session: Session, alert: AlertRow, about: Window, findings: Sequence[Finding]) -> Iterator[Finding]:
    """What was found before the answer; and of labels given before it, which the run knew, also what was found after.

    Windows close after their labels came: those that let the policy ask for the run may be tested after its verdict.
    """
    later = select(func.min(WindowRow.number)).where(WindowRow.labels_until > alert.closed)
    last = session.scalar(later.where(WindowRow.project == alert.project)) or about.number
    query = select(FindingsRow).where(
        FindingsRow.project == alert.project,
        FindingsRow.window >= alert.window,
        (FindingsRow.created <= alert.closed) | (FindingsRow.window <= last),
    )
    for row in session.scalars(query):
        known = row.created <= alert.closed
        yield from (one for one in map(Finding.model_validate, row.findings) if known or one.signal in OF_LABELS)
    if about.number <= last:
        yield from (one for one in findings if one.signal in OF_LABELS)


def _of(project: str, generation: int, *statuses: AlertStatus) -> Select[AlertRow]:
    return select(AlertRow).where(
        AlertRow.project == project,
        AlertRow.generation == generation,
        AlertRow.status.in_([one.value for one in statuses]),
    )


def _generation(session: Session, project: str) -> int:
    newest = releases.newest(session, project)
    return newest.generation if newest else 0


def _entry(row: AlertRow) -> AlertEntry:
    return AlertEntry.model_validate({name: getattr(row, name) for name in AlertEntry.model_fields})
