"""What a run that failed has trained already: the next one of the same plan goes on from there."""

from __future__ import annotations

import structlog

from evertune import jobs
from evertune.ledger import runs
from evertune.loop.held import Held
from evertune.records import RunStatus

log = structlog.get_logger(__name__)


def take_up(held: Held) -> str | None:
    """Move the checkpoints of the newest failed run of this plan into this run's job; return that run's key.

    Nothing is moved once this run's job has begun, nor while a worker of the other is still at work. What was made from
    other inputs than the plan tells (another version of torch, say) is refused where a checkpoint is read.
    """
    for run in runs.history(held.engine, held.project.slug):
        same = run.status is RunStatus.FAILED and run.plan_hash is not None and run.plan_hash == held.run.plan_hash
        if same and jobs.hand_over(held.settings, run.key, held.run.key, "checkpoints"):
            log.info("goes on from what a failed run has trained", run=held.run.key, failed=run.key)
            return run.key
    return None
