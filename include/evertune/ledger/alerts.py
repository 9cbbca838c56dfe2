"""What was found in windows, and the alerts that come of it: each raised once, ruled on until a retrain is asked for.

A window's findings, the evidence after it and the alert that it raises are one transaction; so are the ruling that lets
an alert start a retrain and the trigger. Whoever is killed between the two finds the alert open and rules again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from evertune.ledger import events, triggers
from evertune.ledger.alerts_past import (
    STANDING,
    AlertEntry,
    absorbed,
    answered_effects,
    as_entry,
    evidence,
    evidence_before,
    generation_of,
    history,
    of,
    open_one,
    standing,
)
from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.past import active_row
from evertune.ledger.traffic_tables import AlertRow, FindingsRow
from evertune.records import (
    AlertStatus,
    Cause,
    Evidence,
    Explanation,
    Finding,
    Signal,
    StaleError,
    Window,
)

__all__ = [
    "AlertEntry",
    "AnsweredError",
    "Standing",
    "absorbed",
    "answered_effects",
    "evidence",
    "history",
    "open_one",
    "record",
    "rule",
    "settle",
    "standing",
    "working",
]

NOT_RULED = "The policy has not ruled on it yet."
FADED = "Nothing of it was seen for a week, or what raised it is no longer watched: it is closed without a retrain."


class AnsweredError(StaleError):
    """An alert was answered while the window was tested: the evidence that the test began from is void."""


class Standing(NamedTuple):
    """What the ledger knows that the policy goes by."""

    now: datetime
    """The database's time."""
    generation: int
    """That answers."""
    working: bool
    """Whether a run of the project is active."""
    retrains: tuple[datetime, ...]
    """When retrains for drift were begun, or asked for where nobody has begun them yet; newest first."""


Rule = Callable[[AlertEntry, Standing], tuple[bool, str]]
"""Whether the alert starts a retrain, and why or why not."""


def record(
    engine: Engine,
    window: Window,
    findings: Sequence[Finding],
    after: Evidence,
    raised: Sequence[Signal],
    *,
    before: Evidence | None = None,
    faded: Sequence[Signal] = (),
    explanation: Explanation | None = None,
    labelled: int = 0,
    marks: dict[str, int] | None = None,
    report: str = "",
) -> AlertEntry | None:
    """Keep what was found in the window, once, and raise or extend the alert of the signals that ``raised`` it.

    The signals that have ``faded`` leave the open alert, and the last one closes it.

    Windows are recorded in their order: :class:`StaleError` where one before has not been. Nor is anything written
    where the window no longer starts from the evidence ``before``, since a verdict came while it was tested
    (:class:`AnsweredError`): what that verdict has answered would raise an alert again. Returns the standing alert of
    the window's release.
    """
    with writing(engine) as session:
        now = clock(session)
        if session.get(FindingsRow, (window.project, window.number)) is None:
            _check_order(session, window)
            _settle(session, window.project, now)
            _check_evidence(session, window, before)
            session.add(
                FindingsRow(
                    project=window.project,
                    window=window.number,
                    findings=[one.model_dump(mode="json") for one in findings],
                    evidence=after.model_dump(mode="json"),
                    labelled=labelled,
                    report=report,
                    marks=marks,
                    created=_after_all(session, window.project, now),
                )
            )
            if (last := session.get(FindingsRow, (window.project, window.number - 1))) is not None:
                last.marks = None  # these go on from there
            session.flush()
            if window.generation == generation_of(session, window.project):
                if raised:
                    _raise(session, window, raised, explanation, now)
                _fade(session, window, faded, now)
        row = session.scalar(of(window.project, window.generation, *map(AlertStatus, STANDING)).limit(1))
        return as_entry(row) if row else None


def _check_order(session: Session, window: Window) -> None:
    if window.number > 1 and session.get(FindingsRow, (window.project, window.number - 1)) is None:
        raise StaleError(
            f"Window {window.number} of {window.project} cannot be recorded before window {window.number - 1}: its "
            "evidence builds on that one's. Nothing was written; test the windows in their order."
        )


def _check_evidence(session: Session, window: Window, before: Evidence | None) -> None:
    if before is not None and before != evidence_before(session, window):
        raise AnsweredError(
            f"An alert of {window.project} was answered while window {window.number} was tested. Nothing was written; "
            "test it again."
        )


def _raise(
    session: Session, window: Window, raised: Sequence[Signal], explanation: Explanation | None, now: datetime
) -> None:
    row = session.scalar(of(window.project, window.generation, *map(AlertStatus, STANDING)).limit(1))
    told = explanation.model_dump(mode="json") if explanation else None
    signals = [one.value for one in raised]
    if row is None:
        further: list[str] = []
        row = AlertRow(
            project=window.project,
            key=f"drift-{window.generation}-{window.number}",
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
        session.add(row)
    else:
        further = [one for one in signals if one not in row.signals]
        row.until, row.rows = window.number, row.rows + window.rows
        row.signals = [*row.signals, *further]
        row.explanation = told or row.explanation
        if not further:
            return
    about = {"alert": row.key, "generation": row.generation, "window": window.number, "rows": row.rows}
    joined = {"further": further} if further else {}
    events.append(session, window.project, events.Kind.ALERT, {**about, "signals": row.signals, **joined})


def _fade(session: Session, window: Window, faded: Sequence[Signal], now: datetime) -> None:
    row = session.scalar(of(window.project, window.generation, AlertStatus.OPEN))
    if row is None or not faded:
        return
    if left := [one for one in row.signals if one not in faded]:
        row.signals = left
        return
    row.status, row.closed, row.ruling = AlertStatus.FADED.value, now, FADED
    about = {"alert": row.key, "generation": row.generation, "window": window.number, "signals": row.signals}
    events.append(session, window.project, events.Kind.FADED, about)


def rule(engine: Engine, project: str, decide: Rule) -> AlertEntry | None:
    """Let the policy rule on the open alert of the release that answers; returns it as it is then, or ``None``.

    All in one transaction: what ``decide`` is told is still so when the trigger is inserted, and it must not wait for
    anything.
    """
    with writing(engine) as session:
        now = clock(session)
        _settle(session, project, now)
        generation = generation_of(session, project)
        row = session.scalar(of(project, generation, AlertStatus.OPEN))
        if row is None:
            return None
        asked = tuple(triggers.retrains(session, project))
        retrain, why = decide(as_entry(row), Standing(now, generation, _working(session, project, now), asked))
        row.ruling = printable(why)
        if retrain:
            reason = f"drift in window {row.window}: {', '.join(row.signals)}"
            triggers.insert(session, project, Cause.ALERT, row.key, reason, row.generation)
            row.status = AlertStatus.TRIGGERED.value
        return as_entry(row)


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
    generation = generation_of(session, project)
    for row in session.scalars(select(AlertRow).where(AlertRow.project == project, AlertRow.status.in_(STANDING))):
        trigger = triggers.find(session, project, row.key)
        if trigger is not None and trigger.answer == triggers.VERDICT:
            row.status, row.closed = AlertStatus.ANSWERED.value, _after_all(session, project, now)
        elif row.generation != generation and (trigger is None or trigger.run_key is None):
            row.status, row.closed = AlertStatus.OUTDATED.value, now
    triggers.close_outdated(session, project, generation, now)
    session.flush()


def _after_all(session: Session, project: str, now: datetime) -> datetime:
    """``now``, or just after what was found and answered last.

    Whether a verdict came before a window's findings or after them is told by their times, and the database's clock may
    be set back between the two.
    """
    found = select(FindingsRow.created).where(FindingsRow.project == project).order_by(FindingsRow.window.desc())
    answered = select(func.max(AlertRow.closed)).where(AlertRow.project == project)
    last = [session.scalar(found.limit(1)), session.scalar(answered)]
    return max([now, *(moment + timedelta(microseconds=1) for moment in last if moment is not None)])
