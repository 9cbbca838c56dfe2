"""Runs in MLflow: one for each run of the loop, found by its key."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

from evertune.project import Project
from evertune.releases.mlflow import artifacts, unsent
from evertune.releases.mlflow.store import RUN_KEY, Point, Store, connect
from evertune.settings import Settings

_PARAMS = 100
_PARAM_CHARACTERS = 6000


def start_run(settings: Settings, project: Project, run_key: str, params: Mapping[str, Any]) -> str:
    """The id of the run's record in MLflow, which is running afterwards: the one that is there, else a new one.

    The experiment is named as the project. ``params`` that are there already keep their value, as MLflow wants it.
    """
    store = connect(settings)
    experiment = experiment_of(store, settings, project.slug)
    run = store.find_run(experiment, run_key)
    if run is None:
        tags = {RUN_KEY: run_key, "mlflow.source.name": "evertune", "mlflow.user": project.owner}
        run = store.create_run(experiment, run_key, tags)
    elif run.status != "RUNNING":
        store.set_status(run.id, "RUNNING")
    missing = [(key, str(value)[:_PARAM_CHARACTERS]) for key, value in params.items() if key not in run.params]
    for start in range(0, len(missing), _PARAMS):
        store.log(run.id, [], dict(missing[start : start + _PARAMS]))
    unsent.deliver(settings, store, run.id)
    return run.id


def experiment_of(store: Store, settings: Settings, slug: str) -> str:
    """The id of the project's experiment."""
    return store.experiment(slug, f"{settings.mlflow_artifacts.rstrip('/')}/{slug}")


def log_metrics(settings: Settings, run_id: str, metrics: Mapping[str, float], step: int) -> None:
    """Add one value to each metric, and deliver what could not be sent before."""
    store = connect(settings)
    unsent.deliver(settings, store, run_id)
    now = int(time.time() * 1000)
    unsent.send(store, run_id, [Point(key, float(value), now, step) for key, value in metrics.items()])


def log_folder(settings: Settings, run_id: str, folder: Path, path: str) -> None:
    """Copy a file or a folder's content to ``path`` among the run's artefacts."""
    root = _place(settings, run_id).artifacts
    artifacts.upload(settings, folder, f"{root}/{path}" if path else root)


def end_run(settings: Settings, run_id: str, status: str = "FINISHED") -> None:
    """Close the run's record: ``FINISHED``, ``FAILED`` or ``KILLED``."""
    store = connect(settings)
    unsent.deliver(settings, store, run_id)
    store.set_status(run_id, status)


def artifact_link(settings: Settings, run_id: str, path: str) -> str:
    """Where a person sees the artefact: in MLflow's web UI, or, without one, where the file is."""
    run = _place(settings, run_id)
    if not settings.mlflow_ui:
        return f"{run.artifacts}/{path}"
    return f"{settings.mlflow_ui.rstrip('/')}/#/experiments/{run.experiment}/runs/{run_id}/artifacts/{quote(path)}"


class _Place(NamedTuple):
    """Where a run's record is; never changes."""

    experiment: str
    artifacts: str


@functools.lru_cache(maxsize=64)
def _place(settings: Settings, run_id: str) -> _Place:
    """Asked once: a server with a login takes 0.2 s for any request, because it hashes the password anew."""
    run = connect(settings).run(run_id)
    return _Place(run.experiment, run.artifacts)
