"""Claiming a run: the trigger becomes a run that this owner holds, or there is nothing to do."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import structlog
from sqlalchemy import Engine

from evertune import jobs
from evertune.data import versions
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases, runs, steps, triggers
from evertune.loop import housekeeping
from evertune.loop.labels import freeze
from evertune.loop.lease import keep_lease
from evertune.loop.outcome import unchanged
from evertune.project import Project
from evertune.records import Cause, Decision, Run, RunStatus, Step, UnfitError, Verdict
from evertune.settings import Settings

log = structlog.get_logger(__name__)


def claim(
    project: Project,
    settings: Settings,
    *,
    owner: str,
    cause: Cause = Cause.PERSON,
    key: str | None = None,
    reason: str = "",
    force: bool = False,
) -> Run | None:
    """Ask for a run and claim it. For an alert only claim: what it asked for is in the ledger since it was ruled on.

    ``owner`` names who asks, the same on every retry. ``key`` makes the request unique: a retried task or a doubled
    event asks once. ``force`` trains even where nothing has changed.

    A run whose owner is dead is taken over and finished, so that what it has done is not lost; what is asked now then
    stays for the run after it. Where the project file asks for another model since, that run is ended instead, and a
    new one answers both.

    Returns the run, which is already finished where the same plan was judged against the same champion before
    (``unchanged``), or ``None`` where another owner works on this project: the request then stays for the run after.
    Raises :class:`UnfitError` where a source or the base model cannot be used.
    """
    engine = ledger_engine.ready(settings.database_url)
    key = key or f"{cause}:{datetime.now(UTC).isoformat()}"
    if cause is not Cause.ALERT:
        triggers.request(engine, project.slug, cause, key, reason or f"asked for by {cause}")
    left = runs.active(engine, project.slug)
    run = runs.claim(engine, project.slug, owner, settings.lease_s)
    if run is not None and left is not None and left.key == run.key and left.owner != owner:
        if _outdated(engine, run, project):
            _end(engine, run, settings)
            run = runs.claim(engine, project.slug, owner, settings.lease_s)
        else:
            log.warning("goes on with a run whose owner is gone", run=run.key, owner=left.owner)
    if run is None or steps.result(engine, run.key, Step.CLAIM) is not None:
        return run
    try:
        return _plan(engine, run, project, settings, force=force)
    except UnfitError as fault:
        runs.fail(engine, run, str(fault))
        raise


def _outdated(engine: Engine, run: Run, project: Project) -> bool:
    """Whether what the run was claimed for is no longer asked for.

    Once judged it is finished all the same: the gate has looked, and its model may answer already.
    """
    planned = steps.result(engine, run.key, Step.CLAIM)
    if planned is None or steps.result(engine, run.key, Step.JUDGE) is not None:
        return False
    try:
        return not versions.same_model(Project.model_validate(planned["project"]), project)
    except ValueError:  # of another version of evertune
        return True


def _end(engine: Engine, run: Run, settings: Settings) -> None:
    told = (
        f"Its owner was gone, and by now another model of {run.project} is asked for: a new run answers what this one "
        "was begun for."
    )
    log.warning("a run whose owner is gone is ended: another model is asked for by now", run=run.key)
    jobs.cancel(settings, run.key)  # its trainer may live: it is a process of its own
    runs.fail(engine, run, told)


def _plan(engine: Engine, run: Run, project: Project, settings: Settings, *, force: bool) -> Run:
    """Pin the world; finish the run at once where the same plan was judged against the same champion before."""
    started = time.monotonic()
    with keep_lease(engine, run, settings.lease_s):
        housekeeping.clear(engine, settings, project.slug)  # no other run of the project is at work now
        pins = versions.pin(project, settings)
        labels = freeze(project, settings)
    if labels is not None:
        pins = pins.model_copy(update={"label_watermark": labels.watermark})
    plan = versions.plan_hash(project, pins)
    if not force and (same := _same_plan(engine, run, plan)) is not None:
        return _finish_unchanged(engine, run, project, same)
    runs.set_plan(engine, run, plan)
    versions.open_workspace(settings, run.key, project, pins)
    told = {"plan_hash": plan, "pins": pins.model_dump(mode="json"), "project": project.model_dump(mode="json")}
    if labels is not None:
        told["labels"] = labels.model_dump(mode="json")
    steps.record(engine, run, Step.CLAIM, told, time.monotonic() - started)
    return run


def _same_plan(engine: Engine, run: Run, plan: str) -> runs.FinishedRun | None:
    """The newest finished run of this plan that met, or made, the model that answers now.

    The model, not the generation: after a rollback the same model answers under another number.
    """
    models = {release.generation: release.digest for release in releases.history(engine, run.project)}
    now = models.get(run.champion)
    for earlier in runs.same_plan(engine, run.project, plan):
        met = models.get(earlier.champion)
        made = models.get(earlier.generation) if earlier.generation else None
        if met == now or (now is not None and made == now):
            return earlier
    return None


def _finish_unchanged(engine: Engine, run: Run, project: Project, earlier: runs.FinishedRun) -> Run:
    decision = earlier.decision or Decision.UNCHANGED
    told = f"Run {earlier.key} had the same data, settings and base model, and its verdict was: {decision}."
    verdict = Verdict(
        decision=Decision.UNCHANGED,
        reasons=(told, "Training again would give the same model. `--force` trains nevertheless."),
    )
    current = releases.current(engine, project.slug)
    runs.finish(engine, run, unchanged(run, project, earlier.outcome, verdict, current), RunStatus.FINISHED)
    found = runs.get(engine, run.key)
    assert found is not None  # noqa: S101 - it was finished a line above
    return found
