"""A whole pass of the loop in one process: what Airflow's tasks do, without Airflow."""

from __future__ import annotations

import functools
import os
import socket
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from sqlalchemy.exc import SQLAlchemyError

from evertune import jobs
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs
from evertune.loop import steps
from evertune.loop.claim import claim
from evertune.loop.outcome import outcome
from evertune.project import Project
from evertune.records import Cause, EvertuneError, JsonObject, Outcome, Run, RunStatus, Step
from evertune.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Progress:
    """How far a pass is: the step that runs now and, while tuning, what the trainer tells."""

    step: Step
    detail: JsonObject = field(default_factory=dict)


def run(
    project: Project,
    settings: Settings,
    *,
    cause: Cause = Cause.PERSON,
    reason: str = "",
    force: bool = False,
    report: Callable[[Progress], None] = lambda _: None,
) -> Outcome:
    """Claim a run and go through its steps to the verdict.

    Where a run was left by an owner that died, it is finished first, and then what is asked here is done, unless that
    run has just done it. Raises :class:`EvertuneError` where another owner works on the project: the request is kept,
    and that run's successor answers it. A run that fails ends as failed in the ledger, with the reason.
    """
    now = datetime.now(UTC).isoformat()
    owner, key = f"{socket.gethostname()}:{os.getpid()}:{now}", f"{cause}:{now}"
    asked = functools.partial(claim, project, settings, owner=owner, cause=cause, key=key, reason=reason)
    report(Progress(Step.CLAIM))
    try:
        held = _claimed(asked(force=force), project)
        if held.status is RunStatus.FINISHED:
            done = outcome(ledger_engine.ready(settings.database_url), held.key, project)
        else:
            done = _steps(held.key, owner, settings, report)
        if held.token == 1:
            return done
        report(Progress(Step.CLAIM))
        own = asked(force=False)  # what was left has just been trained: that is what `force` wants
        return done if own is None or own.status is RunStatus.FINISHED else _steps(own.key, owner, settings, report)
    except BaseException as fault:
        _give_up(project.slug, owner, settings, fault)
        raise


def _claimed(run: Run | None, project: Project) -> Run:
    if run is None:
        raise EvertuneError(
            f"Another run of {project.slug} is at work; this request is kept for the one after it, which goes by the "
            "project file (--method and --force are not kept). `evertune status` shows who has it. If its owner is "
            "dead, it can be taken over when its lease has run out."
        )
    return run


def _give_up(slug: str, owner: str, settings: Settings, fault: BaseException) -> None:
    """End the run that this process has, if any, as failed: left active, it would hold up the next one for a lease."""
    try:
        engine = ledger_engine.ready(settings.database_url)
        run = runs.active(engine, slug)
        if run is None or run.owner != owner:
            return
        if isinstance(fault, KeyboardInterrupt):
            jobs.cancel(settings, run.key)  # the trainer is a process of its own and would go on
        runs.fail(engine, run, str(fault) or type(fault).__name__)
    except (EvertuneError, SQLAlchemyError, OSError) as other:  # such as the full disk that ended the run
        if str(other) == str(fault):
            return  # the ledger was away before there was a run
        log.warning("the run could not be ended as failed; its lease will run out", project=slug, fault=str(other))


def _steps(run_key: str, owner: str, settings: Settings, report: Callable[[Progress], None]) -> Outcome:
    for step in (Step.SNAPSHOT, Step.VALIDATE, Step.PREPARE):
        report(Progress(step))
        steps.STEPS[step](run_key, owner, settings)
    report(Progress(Step.TUNE))
    steps.tune(run_key, owner, settings, lambda detail: report(Progress(Step.TUNE, detail)))
    report(Progress(Step.JUDGE))
    steps.judge(run_key, owner, settings)
    report(Progress(Step.PROMOTE))
    return steps.promote(run_key, owner, settings)


def share(detail: JsonObject) -> float:
    """How much of the training is done, 0 to 1."""
    steps_in_all = float(detail.get("steps") or 0)
    return min(1.0, float(detail.get("step") or 0) / steps_in_all) if steps_in_all else 0.0


def describe(detail: JsonObject) -> str:
    """What the tuning job tells, as one short line for people."""
    if detail.get("phase") == "preflight":
        needed, available = (detail[name] / 1e9 for name in ("needed", "available"))
        where = f"{detail['device']}, {detail['precision']}"
        return f"preflight: needs about {needed:.1f} GB of memory, {available:.1f} GB are free ({where})"
    if not detail.get("steps"):
        return str(detail.get("phase", ""))
    parts = [f"{detail.get('phase', 'train')} {detail['step']}/{detail['steps']}"]
    if detail.get("loss") is not None:
        parts.append(f"loss {detail['loss']:.3f}")
    if detail.get("f1") is not None:
        parts.append(f"F1 {detail['f1']:.3f}")
    if detail.get("tokens_per_s"):
        parts.append(f"{detail['tokens_per_s']:,.0f} tokens/s")
    if detail.get("seconds_left") is not None:
        parts.append(f"{detail['seconds_left']:.0f} s left")
    return ", ".join(parts)
