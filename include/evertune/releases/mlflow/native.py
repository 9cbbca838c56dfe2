"""MLflow's own library on its own database, where there is no server."""

# ruff: noqa: D102 - the methods are described in Store

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evertune import files
from evertune.records import EvertuneError, UnreachableError
from evertune.releases.mlflow.store import (
    RUN_KEY,
    LoggedModel,
    MissingError,
    Point,
    Store,
    TrackedRun,
    Version,
    is_missing,
    place,
    tagged,
)
from evertune.settings import Settings

if TYPE_CHECKING:
    from mlflow import MlflowClient


class NativeStore(Store):
    """See :class:`~evertune.releases.mlflow.store.Store`."""

    def __init__(self, settings: Settings) -> None:
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # is read when mlflow is imported
        self._uri = settings.mlflow_uri
        self._place = place(self._uri)
        _check_server(self._uri)
        with self._plainly():
            from mlflow import MlflowClient

            for name in ("mlflow.store.db", "alembic"):
                logging.getLogger(name).setLevel(logging.WARNING)
            # Two processes that both find an empty database would both create its tables.
            with files.lock(settings.home / "locks" / "mlflow", wait=True):
                self._client: MlflowClient = MlflowClient(tracking_uri=self._uri, registry_uri=self._uri)
                self._client.search_registered_models(max_results=1)

    def experiment(self, name: str, artifacts: str) -> str:
        with self._plainly():
            found = self._client.get_experiment_by_name(name)
            if found is None:
                try:
                    return str(self._client.create_experiment(name, artifact_location=artifacts))
                except Exception as fault:
                    if _code(fault) != "RESOURCE_ALREADY_EXISTS":
                        raise
                    return self.experiment(name, artifacts)  # a rival made it meanwhile
            if found.lifecycle_stage == "deleted":
                self._client.restore_experiment(found.experiment_id)
            return str(found.experiment_id)

    def find_run(self, experiment: str, run_key: str) -> TrackedRun | None:
        with self._plainly():
            found = self._client.search_runs(
                [experiment], tagged({RUN_KEY: run_key}), order_by=["attributes.start_time ASC"], max_results=1
            )
            return _run(found[0]) if found else None

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        with self._plainly():
            return _run(self._client.create_run(experiment, tags=dict(tags), run_name=name))

    def run(self, run_id: str) -> TrackedRun:
        with self._plainly():
            return _run(self._client.get_run(run_id))

    def set_status(self, run_id: str, status: str) -> None:
        with self._plainly():
            if status == "RUNNING":
                self._client.update_run(run_id, status=status)
            else:
                self._client.set_terminated(run_id, status)

    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str]) -> None:
        with self._plainly():
            from mlflow.entities import Metric, Param

            metrics = [Metric(point.key, point.value, point.timestamp, point.step) for point in points]
            self._client.log_batch(run_id, metrics=metrics, params=[Param(*pair) for pair in params.items()])

    def find_model(self, experiment: str, tags: Mapping[str, str]) -> LoggedModel | None:
        with self._plainly():
            found = self._client.search_logged_models(
                [experiment],
                tagged(tags),
                max_results=1,
                order_by=[{"field_name": "creation_timestamp", "ascending": True}],
            )
            return _model(found[0]) if found else None

    def create_model(self, experiment: str, name: str, run_id: str, tags: Mapping[str, str]) -> LoggedModel:
        with self._plainly():
            return _model(self._client.create_logged_model(experiment, name, run_id, tags=dict(tags)))

    def finish_model(self, model_id: str) -> None:
        with self._plainly():
            self._client.finalize_logged_model(model_id, "READY")

    def model(self, model_id: str) -> LoggedModel:
        with self._plainly():
            return _model(self._client.get_logged_model(model_id))

    def find_version(self, name: str, tags: Mapping[str, str]) -> Version | None:
        with self._plainly():
            query = f"name = '{name}' AND {tagged(tags)}"
            found = self._client.search_model_versions(query, order_by=["version_number ASC"], max_results=1)
            return _version(found[0]) if found else None

    def create_version(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str]) -> Version:
        with self._plainly():
            try:
                self._client.create_registered_model(name)
            except Exception as fault:
                if _code(fault) != "RESOURCE_ALREADY_EXISTS":
                    raise
            # Not models:/ID: MLflow 3.17 looks that up under the process's global tracking URI, not this client's.
            source = self._client.get_logged_model(model_id).artifact_location
            return _version(self._client.create_model_version(name, source, run_id, tags=dict(tags), model_id=model_id))

    def version(self, name: str, number: int) -> Version:
        with self._plainly():
            return _version(self._client.get_model_version(name, str(number)))

    def tag_version(self, name: str, number: int, tags: Mapping[str, str], description: str) -> None:
        with self._plainly():
            for key, value in tags.items():
                self._client.set_model_version_tag(name, str(number), key, value)
            self._client.update_model_version(name, str(number), description)

    def find_alias(self, name: str, alias: str) -> int | None:
        try:
            with self._plainly():
                return int(self._client.get_model_version_by_alias(name, alias).version)
        except MissingError:
            return None

    def set_alias(self, name: str, alias: str, number: int) -> None:
        with self._plainly():
            self._client.set_registered_model_alias(name, alias, str(number))

    def delete_alias(self, name: str, alias: str) -> None:
        with self._plainly():
            self._client.delete_registered_model_alias(name, alias)

    @contextlib.contextmanager
    def _plainly(self) -> Iterator[None]:
        """Turn MLflow's faults into ours."""
        try:
            yield
        except EvertuneError:
            raise
        except Exception as fault:
            code = _code(fault)
            if code is None:
                raise
            if is_missing(code, str(fault)):
                raise MissingError(f"MLflow at {self._place}: {fault}") from fault
            if code in {"TEMPORARILY_UNAVAILABLE", "INTERNAL_ERROR"}:
                raise UnreachableError(f"MLflow's database {self._place} does not answer: {fault}") from fault
            raise EvertuneError(f"MLflow at {self._place} refuses: {fault}") from fault


def _code(fault: Exception) -> str | None:
    """MLflow's error code; ``None`` where the fault is not MLflow's."""
    code = getattr(fault, "error_code", None)
    return str(code) if code is not None else None


def _check_server(uri: str) -> None:
    """Find a database server that is away in 5 s; MLflow's library would try for many minutes."""
    if uri.startswith("sqlite:"):
        return
    import sqlalchemy

    try:
        engine = sqlalchemy.create_engine(uri, connect_args={"connect_timeout": 5})
        engine.connect().close()
        engine.dispose()
    except sqlalchemy.exc.OperationalError as fault:
        raise UnreachableError(f"MLflow's database {place(uri)} does not answer: {fault.orig}") from fault


def _run(run: Any) -> TrackedRun:
    info = run.info
    return TrackedRun(info.run_id, info.experiment_id, info.status, info.artifact_uri, dict(run.data.params))


def _model(model: Any) -> LoggedModel:
    return LoggedModel(model.model_id, model.artifact_location, str(model.status) == "READY")


def _version(version: Any) -> Version:
    return Version(int(version.version), version.source or "", dict(version.tags), version.description or "")
