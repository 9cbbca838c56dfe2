"""MLflow: what was tried, how it went, which models came of it. An adapter; it decides nothing.

The ledger says which release answers. MLflow keeps the models, pictures and numbers, and its alias ``champion`` is a
projection of the ledger that :func:`reconcile` sets right. Nothing here uses MLflow's global state (tracking URI,
active run), so that threads and projects do not get into each other's way, and nothing imports ``mlflow`` (5 to 9 s)
where MLflow is a server: then its REST API is spoken directly (:mod:`.rest`).
"""

from evertune.releases.mlflow.aliases import alias, reconcile
from evertune.releases.mlflow.card import model_card
from evertune.releases.mlflow.live import Live
from evertune.releases.mlflow.registry import (
    RegisteredVersion,
    describe,
    fetch,
    fetch_card,
    fetch_checks,
    register,
    set_verdict,
    version_folder,
)
from evertune.releases.mlflow.tracking import artifact_link, end_run, log_folder, log_metrics, start_run

__all__ = [
    "Live",
    "RegisteredVersion",
    "alias",
    "artifact_link",
    "describe",
    "end_run",
    "fetch",
    "fetch_card",
    "fetch_checks",
    "log_folder",
    "log_metrics",
    "model_card",
    "reconcile",
    "register",
    "set_verdict",
    "start_run",
    "version_folder",
]
