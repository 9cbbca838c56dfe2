"""What each step of a run gave: inserted once, after the step, so that a rerun finds it and goes on from there."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Engine, select

from evertune.ledger.engine import reading, writing
from evertune.ledger.runs import hold
from evertune.ledger.tables import StepRow
from evertune.records import Record, Run, Step


class StepResult(Record):
    """One step of a run, done."""

    step: Step
    result: dict[str, Any]
    seconds: float


def record(engine: Engine, run: Run, step: Step, result: dict[str, Any], seconds: float) -> dict[str, Any]:
    """Store what the step gave and return what is stored: the first result stands, also against a later other one.

    Raises :class:`StaleError` where the run has changed hands or ended.
    """
    with writing(engine) as session:
        _, now = hold(session, run)
        stored = session.get(StepRow, (run.key, step.value))
        if stored is None:
            stored = StepRow(
                run_key=run.key, step=step.value, result=result, seconds=seconds, token=run.token, created=now
            )
            session.add(stored)
            session.flush()
            session.refresh(stored)  # so that the caller goes on with what a rerun would read
        return stored.result


def result(engine: Engine, run_key: str, step: Step) -> dict[str, Any] | None:
    """What the step gave; ``None`` where it has not been done."""
    with reading(engine) as session:
        return session.scalar(select(StepRow.result).where(StepRow.run_key == run_key, StepRow.step == step.value))


def all(engine: Engine, run_key: str) -> list[StepResult]:  # noqa: A001 - reads as `steps.all`
    """The steps that are done, in the order of the run."""
    with reading(engine) as session:
        rows = {Step(row.step): row for row in session.scalars(select(StepRow).where(StepRow.run_key == run_key))}
        return [
            StepResult(step=step, result=rows[step].result, seconds=rows[step].seconds) for step in Step if step in rows
        ]
