"""What the ledger knows of runs: the one that goes on, those that ended, and how often the gate has looked."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, func, select
from sqlalchemy.orm import Session

from evertune.ledger.engine import reading
from evertune.ledger.tables import ReleaseRow, RunRow
from evertune.records import Decision, Outcome, Record, Run, RunStatus

JUDGED = RunRow.decision.is_not(None) & (RunRow.decision != Decision.UNCHANGED.value)


class RunEntry(Run):
    """A run as the ledger knows it, with its end."""

    decision: Decision | None = None
    generation: int | None = None
    """The release that its candidate became."""
    outcome: Outcome | None = None
    message: str | None = None
    """Why it failed, or was not approved."""
    ended: datetime | None = None


class FinishedRun(Record):
    """A run that ended at a verdict of the gate."""

    key: str
    champion: int
    """Generation judged against."""
    generation: int | None
    """The release that its candidate became."""
    decision: Decision
    outcome: Outcome


def get(engine: Engine, key: str) -> RunEntry | None:
    """The run of this key."""
    with reading(engine) as session:
        row = session.scalar(select(RunRow).where(RunRow.key == key))
        return as_entry(row) if row else None


def active(engine: Engine, project: str) -> RunEntry | None:
    """The run that goes on now, whoever has it."""
    with reading(engine) as session:
        row = active_row(session, project)
        return as_entry(row) if row else None


def history(engine: Engine, project: str, limit: int = 20) -> list[RunEntry]:
    """The latest runs, newest first."""
    query = select(RunRow).where(RunRow.project == project).order_by(RunRow.id.desc()).limit(limit)
    with reading(engine) as session:
        return [as_entry(row) for row in session.scalars(query)]


def awaiting(engine: Engine, project: str) -> RunEntry | None:
    """The newest run that a person was asked about, if it still waits for a yes and the release it met still answers.

    Runs that ended otherwise since then take nothing away from it. Where it was refused, those before it wait no
    longer: nobody has looked at them, and a no that is sent twice must not be about another model.
    """
    answers = select(func.coalesce(func.max(ReleaseRow.generation), 0)).where(ReleaseRow.project == project)
    refused = (RunRow.status == RunStatus.FINISHED.value) & RunRow.message.is_not(None)
    asked = (RunRow.status == RunStatus.AWAITING_APPROVAL.value) | refused
    met = RunRow.champion == answers.scalar_subquery()
    query = select(RunRow).where(RunRow.project == project, asked, met).order_by(RunRow.id.desc()).limit(1)
    with reading(engine) as session:
        row = session.scalar(query)
        return as_entry(row) if row and row.status == RunStatus.AWAITING_APPROVAL else None


def same_plan(engine: Engine, project: str, plan_hash: str) -> list[FinishedRun]:
    """Runs of this very plan that the gate has judged, newest first; those that ended ``unchanged`` tell nothing."""
    query = select(RunRow).where(RunRow.project == project, RunRow.plan_hash == plan_hash, JUDGED)
    with reading(engine) as session:
        return [
            FinishedRun(
                key=row.key,
                champion=row.champion,
                generation=row.generation,
                decision=Decision(str(row.decision)),
                outcome=Outcome.model_validate(row.outcome),
            )
            for row in session.scalars(query.where(RunRow.outcome.is_not(None)).order_by(RunRow.id.desc()))
        ]


def looks(engine: Engine, project: str, champion_generation: int) -> int:
    """How many challengers have been judged against this champion, for the gate's error budget.

    The champion is a model: verdicts against it under an earlier generation, from before a rollback to it, count too.
    """
    of_generation = select(ReleaseRow.digest).where(
        ReleaseRow.project == project, ReleaseRow.generation == champion_generation
    )
    same_model = select(ReleaseRow.generation).where(
        ReleaseRow.project == project, ReleaseRow.digest == of_generation.scalar_subquery()
    )
    against = (RunRow.champion == champion_generation) | RunRow.champion.in_(same_model)
    with reading(engine) as session:
        return session.scalar(select(func.count()).where(RunRow.project == project, against, JUDGED)) or 0


def active_row(session: Session, project: str) -> RunRow | None:
    """The row of the run that goes on, within the caller's transaction."""
    query = select(RunRow).where(RunRow.project == project, RunRow.status == RunStatus.ACTIVE.value)
    return session.scalar(query)


def as_entry(row: RunRow) -> RunEntry:
    """The row as a record."""
    return RunEntry(
        key=row.key,
        project=row.project,
        owner=row.owner,
        token=row.token,
        status=RunStatus(row.status),
        champion=row.champion,
        plan_hash=row.plan_hash,
        reasons=tuple(row.reasons),
        created=row.created,
        lease_until=row.lease_until,
        decision=Decision(row.decision) if row.decision else None,
        generation=row.generation,
        outcome=Outcome.model_validate(row.outcome) if row.outcome else None,
        message=row.message,
        ended=row.ended,
    )
