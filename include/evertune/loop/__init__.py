"""The loop: claim → snapshot → validate → prepare → tune → judge → promote.

Each step is one function of a run's key, can be killed at any line and called again. Airflow's tasks call the same
functions as :func:`run`, which does a whole pass in one process.
"""

from evertune.loop.claim import claim
from evertune.loop.outcome import outcome
from evertune.loop.release import answered_at, promote_by_hand, refuse, rollback
from evertune.loop.run import Progress, run
from evertune.loop.status import ProjectStatus, status
from evertune.loop.steps import STEPS, data_docs, fail, judge, prepare, promote, snapshot, tune, validate

__all__ = [
    "STEPS",
    "Progress",
    "ProjectStatus",
    "answered_at",
    "claim",
    "data_docs",
    "fail",
    "judge",
    "outcome",
    "prepare",
    "promote",
    "promote_by_hand",
    "refuse",
    "rollback",
    "run",
    "snapshot",
    "status",
    "tune",
    "validate",
]
