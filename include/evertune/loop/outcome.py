"""How a run ended, put together from what its steps have recorded."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

from sqlalchemy import Engine

from evertune.ledger import releases, runs, steps
from evertune.project import Project
from evertune.records import (
    Candidate,
    Dataset,
    Decision,
    Evaluation,
    JsonObject,
    Outcome,
    Record,
    Release,
    Run,
    Step,
    Verdict,
)

_R = TypeVar("_R", bound=Record)


def outcome(engine: Engine, run_key: str, project: Project) -> Outcome:
    """The outcome of a run so far; parts that no step has recorded yet are ``None``."""
    run = runs.get(engine, run_key)
    if run is not None and run.outcome is not None:
        return run.outcome
    recorded = steps.all(engine, run_key)
    done = {step.step: step.result for step in recorded}
    dataset = _of(Dataset, done.get(Step.PREPARE))
    candidate, evaluation = _tuned(done.get(Step.TUNE))
    verdict = _verdict(done)
    return Outcome(
        run_key=run_key,
        project=project.slug,
        data_version=dataset.version if dataset else None,
        rows=dataset.rows if dataset else None,
        notes=done.get(Step.VALIDATE, {}).get("notes", ()),
        method=project.tuning.method,
        metrics=evaluation.challenger if evaluation else None,
        baseline=evaluation.baselines if evaluation else {},
        champion=evaluation.champion if evaluation else None,
        recent=evaluation.recent if evaluation else None,
        verdict=verdict,
        release=releases.current(engine, project.slug),
        model_version=candidate.model_version if candidate else None,
        seconds={step.step.value: round(step.seconds, 3) for step in recorded},
        pictures=_pictures(evaluation, done.get(Step.TUNE, {})),
    )


def unchanged(
    run: Run, project: Project, earlier: Outcome | None, verdict: Verdict, current: Release | None
) -> Outcome:
    """The outcome of a run that found its plan done before: the earlier one's numbers, with nothing trained."""
    told = {"run_key": run.key, "verdict": verdict, "release": current, "seconds": {}, "awaiting_approval": False}
    if earlier is not None:
        there = tuple(picture for picture in earlier.pictures if Path(picture).exists())  # an old run's folder goes
        return earlier.model_copy(update={**told, "pictures": there})
    return Outcome.model_validate({"project": project.slug, "method": project.tuning.method, **told})


def _verdict(done: dict[Step, JsonObject]) -> Verdict | None:
    """The gate's verdict; a reject where the promotion was refused because a person had rolled this model back."""
    verdict = _of(Verdict, done.get(Step.JUDGE))
    refused = done.get(Step.PROMOTE, {}).get("refused")
    if verdict is None or refused is None:
        return verdict
    return verdict.model_copy(update={"decision": Decision.REJECT, "reasons": (*verdict.reasons, refused)})


def _of(record: type[_R], value: JsonObject | None) -> _R | None:
    return None if value is None else record.model_validate(value)


def _tuned(value: JsonObject | None) -> tuple[Candidate | None, Evaluation | None]:
    if value is None:
        return None, None
    return Candidate.model_validate(value["candidate"]), Evaluation.model_validate(value["evaluation"])


def _pictures(evaluation: Evaluation | None, tuned: JsonObject) -> tuple[str, ...]:
    if evaluation is None:
        return ()
    found = [str(picture) for picture in sorted(Path(evaluation.pairs).parent.glob("*.png"))]
    return (*found, tuned["learning_curve"])
