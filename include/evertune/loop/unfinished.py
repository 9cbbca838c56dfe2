"""What a run that failed has trained already: the next one of the same plan goes on from there."""

from __future__ import annotations

import structlog

from evertune import jobs
from evertune.data import versions
from evertune.ledger import runs
from evertune.loop.held import Held
from evertune.project import Project
from evertune.records import JsonObject, RunStatus

log = structlog.get_logger(__name__)

PARTS = ("checkpoints", "learning_curve.png", "bundle", "tuned.json")
"""Of a tuning job's folder. The last one says that those before it are whole, so it moves last."""


def take_up(held: Held, payload: JsonObject) -> str | None:
    """Move what the newest failed run of this plan has trained into this run's job; return that run's key.

    Nothing is moved once this run's job has begun, nor while a worker of the other is still at work. A checkpoint that
    was made from other inputs is refused where it is read; a finished bundle only counts for the very same dataset.
    """
    for run in runs.history(held.engine, held.project.slug):
        if run.status is not RunStatus.FAILED or run.plan_hash is None or run.plan_hash != held.run.plan_hash:
            continue
        if not _same_order(jobs.payload(held.settings, run.key), payload):
            continue
        if jobs.hand_over(held.settings, run.key, held.run.key, PARTS):
            log.info("goes on from what a failed run has trained", run=held.run.key, failed=run.key)
            return run.key
    return None


def _same_order(one: JsonObject | None, other: JsonObject) -> bool:
    if one is None or one["dataset"]["version"] != other["dataset"]["version"] or one["pins"] != other["pins"]:
        return False
    try:
        return versions.same_model(*(Project.model_validate(order["project"]) for order in (one, other)))
    except ValueError:  # of another version of evertune
        return False
