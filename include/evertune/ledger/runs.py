"""Runs: who has one, how long, and how it ended. At most one is active a project.

A run belongs to an owner for a lease by the database's clock; every commit moves the lease on. Safety never rests on
the clock: whoever takes a run over raises its token, and each write checks the token, so that an owner who wakes up
late is refused. A clock that jumps can only make a takeover early or late.
"""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta

from sqlalchemy import Engine, select
from sqlalchemy.orm import Session

from evertune.ledger import events, releases, triggers
from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.past import (
    FinishedRun,
    RunEntry,
    active,
    active_row,
    as_entry,
    awaiting,
    get,
    history,
    looks,
    same_plan,
)
from evertune.ledger.tables import RunRow, StepRow, TriggerRow
from evertune.records import EvertuneError, Outcome, Run, RunStatus, StaleError, Step

__all__ = [
    "FinishedRun",
    "RunEntry",
    "active",
    "awaiting",
    "claim",
    "fail",
    "finish",
    "get",
    "held",
    "history",
    "hold",
    "looks",
    "renew",
    "same_plan",
    "set_plan",
]


def claim(engine: Engine, project: str, owner: str, lease_s: int) -> Run | None:
    """A run for this owner: its own active one (a retry), else a dead owner's, else a new one for what was asked.

    ``None`` where another owner's lease holds (what was asked since waits for the next run) or nothing was asked.
    """
    with writing(engine) as session:
        now = clock(session)
        row = active_row(session, project)
        if row is None:
            row = _start(session, project, owner, lease_s, now)
        elif row.owner != owner and row.lease_until > now:
            return None
        elif row.owner != owner:
            row.owner, row.token = owner, row.token + 1
            events.append(session, project, events.Kind.RESUMED, {"run": row.key, "owner": owner, "token": row.token})
        if row is None:
            return None
        row.lease_s, row.lease_until = lease_s, now + timedelta(seconds=lease_s)
        return as_entry(row)


def _start(session: Session, project: str, owner: str, lease_s: int, now: datetime) -> RunRow | None:
    champion = releases.newest(session, project)
    generation = champion.generation if champion else 0
    asked = triggers.take(session, project, generation, now)
    if not asked:
        return None
    row = RunRow(
        key=_key(asked[0]),
        project=project,
        owner=owner,
        token=1,
        status=RunStatus.ACTIVE.value,
        champion=generation,
        reasons=list(dict.fromkeys(trigger.reason for trigger in asked)),
        created=now,
        lease_s=lease_s,
        lease_until=now,
    )
    session.add(row)
    session.flush()
    for trigger in asked:
        trigger.run_key, trigger.runs = row.key, trigger.runs + 1
    told = {"run": row.key, "owner": owner, "champion": generation, "triggers": [trigger.key for trigger in asked]}
    events.append(session, project, events.Kind.STARTED, told)
    return row


def _key(first: TriggerRow) -> str:
    """Unique, the same for whoever makes it, a name that a file system takes, and in order of time."""
    name = hashlib.sha256(f"{first.project}\n{first.key}".encode()).hexdigest()[:8]
    again = f"-{first.runs + 1}" if first.runs else ""  # the run before gave its triggers back
    return f"{first.project}-{first.created:%Y%m%dT%H%M%S}-{name}{again}"


def hold(session: Session, run: Run, *, ended: bool = False) -> tuple[RunRow, datetime]:
    """The run's row for a write by its owner, with the lease moved on, and the database's time.

    Raises :class:`StaleError` where the run has changed hands, or has ended unless ``ended`` allows it.
    """
    row = _row(session, run.key)
    if row.token != run.token or row.owner != run.owner:
        raise StaleError(
            f"Run {run.key} now belongs to {row.owner} (token {row.token}, yours is {run.token}): nothing was written."
        )
    now = clock(session)
    if row.status == RunStatus.ACTIVE:
        row.lease_until = now + timedelta(seconds=row.lease_s)
    elif not ended:
        raise StaleError(f"Run {run.key} is {row.status} and takes nothing more: nothing was written.")
    return row, now


def renew(engine: Engine, run: Run, lease_s: int) -> Run:
    """Hold the run for ``lease_s`` more seconds. Raises :class:`StaleError` where it has changed hands or ended."""
    with writing(engine) as session:
        row, now = hold(session, run)
        row.lease_s, row.lease_until = lease_s, now + timedelta(seconds=lease_s)
        return as_entry(row)


def set_plan(engine: Engine, run: Run, plan_hash: str) -> None:
    """Note the hash of everything that the run's result depends on."""
    with writing(engine) as session:
        hold(session, run)[0].plan_hash = plan_hash


def finish(engine: Engine, run: Run, outcome: Outcome, status: RunStatus = RunStatus.FINISHED) -> None:
    """End the run at its verdict, which answers its triggers. Again by the same owner, it changes nothing.

    ``AWAITING_APPROVAL`` ends it too, for a person to promote its candidate or not; the next run need not wait.
    """
    if status not in (RunStatus.FINISHED, RunStatus.AWAITING_APPROVAL):
        raise ValueError(f"a run cannot finish as {status}")
    with writing(engine) as session:
        row, now = hold(session, run, ended=True)
        if row.status == RunStatus.FAILED:
            raise StaleError(f"Run {run.key} has failed: its verdict comes too late and was not written.")
        if row.status != RunStatus.ACTIVE:
            return
        verdict = outcome.verdict
        row.status, row.ended, row.outcome = status.value, now, outcome.model_dump(mode="json")
        row.decision = verdict.decision.value if verdict else None
        triggers.close(session, row.key, now)
        told = {"run": row.key, "status": row.status, "champion": row.champion, "decision": row.decision}
        if verdict:
            told |= {"reasons": list(verdict.reasons), "gain": verdict.gain, "alpha": verdict.alpha}
        events.append(session, row.project, events.Kind.VERDICT, told)


def fail(engine: Engine, run: Run, message: str) -> None:
    """End the run without a verdict; its triggers wait for the next. Again by the same owner, it changes nothing."""
    with writing(engine) as session:
        row, now = hold(session, run, ended=True)
        if row.status == RunStatus.FAILED:
            return
        if row.status != RunStatus.ACTIVE:
            raise StaleError(f"Run {run.key} is {row.status}: it cannot fail any more.")
        row.status, row.ended, row.message = RunStatus.FAILED.value, now, printable(message)
        row.decision = _judged_before_failing(session, row.key)
        triggers.give_back(session, row.key)
        events.append(session, row.project, events.Kind.FAILED, {"run": row.key})


def held(engine: Engine, key: str, owner: str) -> Run:
    """The active run as its owner holds it, for a task that carries only the key.

    Raises :class:`StaleError` where another owner has it by now or it has ended.
    """
    with reading(engine) as session:
        row = _row(session, key)
        if row.owner != owner or row.status != RunStatus.ACTIVE:
            raise StaleError(f"Run {key} is {row.status} and belongs to {row.owner}, not to {owner}.")
        return as_entry(row)


def _row(session: Session, key: str) -> RunRow:
    row = session.scalar(select(RunRow).where(RunRow.key == key))
    if row is None:
        raise EvertuneError(f"The ledger knows no run {key}. See EVERTUNE_DATABASE_URL, or claim a new run.")
    return row


def _judged_before_failing(session: Session, key: str) -> str | None:
    """What the gate said before the run failed, so that its look at the test rows still counts."""
    result = session.scalar(select(StepRow.result).where(StepRow.run_key == key, StepRow.step == Step.JUDGE.value))
    verdict = (result or {}).get("verdict", result)
    return verdict.get("decision") if isinstance(verdict, dict) else None
