"""MLflow's REST API, as far as evertune needs it: https://mlflow.org/docs/latest/api_reference/rest-api.html."""

# ruff: noqa: D102 - the methods are described in Store

from __future__ import annotations

import contextlib
import math
import os
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from evertune.records import EvertuneError, UnreachableError
from evertune.releases.mlflow.store import (
    RUN_KEY,
    LoggedModel,
    MissingError,
    Point,
    Store,
    TrackedRun,
    Version,
    credentials,
    is_missing,
    place,
    tagged,
)

if TYPE_CHECKING:
    import httpx

_PAUSES_S = (0.5, 2.0)


class RestStore(Store):
    """See :class:`~evertune.releases.mlflow.store.Store`."""

    def __init__(self, uri: str, timeout_s: float) -> None:
        import httpx

        token = os.environ.get("MLFLOW_TRACKING_TOKEN")
        certificate = os.environ.get("MLFLOW_TRACKING_SERVER_CERT_PATH")
        self._place = place(uri)
        self._http = httpx.Client(
            base_url=f"{uri.rstrip('/')}/api/2.0/mlflow/",
            auth=credentials(),
            headers={"Authorization": f"Bearer {token}"} if token and not credentials() else None,
            timeout=httpx.Timeout(timeout_s, connect=min(5.0, timeout_s)),
            verify=certificate or True,
            limits=httpx.Limits(max_keepalive_connections=0),  # nothing to close, so that nobody has to
        )

    def experiment(self, name: str, artifacts: str) -> str:
        found = self._find("GET", "experiments/get-by-name", experiment_name=name)
        if found is None:
            try:
                made = self._call("POST", "experiments/create", name=name, artifact_location=artifacts)
            except _ExistsError:  # a rival made it meanwhile
                return self.experiment(name, artifacts)
            return str(made["experiment_id"])
        if found["experiment"]["lifecycle_stage"] == "deleted":
            self._call("POST", "experiments/restore", experiment_id=found["experiment"]["experiment_id"])
        return str(found["experiment"]["experiment_id"])

    def find_run(self, experiment: str, run_key: str) -> TrackedRun | None:
        found = self._call(
            "POST",
            "runs/search",
            experiment_ids=[experiment],
            filter=tagged({RUN_KEY: run_key}),
            order_by=["attributes.start_time ASC"],
            max_results=1,
        )
        return _run(found["runs"][0]) if found.get("runs") else None

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        now = int(time.time() * 1000)
        made = self._call(
            "POST", "runs/create", experiment_id=experiment, run_name=name, start_time=now, tags=_pairs(tags)
        )
        return _run(made["run"])

    def run(self, run_id: str) -> TrackedRun:
        return _run(self._call("GET", "runs/get", run_id=run_id)["run"])

    def set_status(self, run_id: str, status: str) -> None:
        ended = {} if status == "RUNNING" else {"end_time": int(time.time() * 1000)}
        self._call("POST", "runs/update", run_id=run_id, status=status, **ended)

    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str]) -> None:
        metrics = [{**point._asdict(), "value": _number(point.value)} for point in points]
        self._call("POST", "runs/log-batch", run_id=run_id, metrics=metrics, params=_pairs(params))

    def find_model(self, experiment: str, tags: Mapping[str, str]) -> LoggedModel | None:
        found = self._call(
            "POST",
            "logged-models/search",
            experiment_ids=[experiment],
            filter=tagged(tags),
            order_by=[{"field_name": "creation_timestamp", "ascending": True}],
            max_results=1,
        )
        return _model(found["models"][0]) if found.get("models") else None

    def create_model(self, experiment: str, name: str, run_id: str, tags: Mapping[str, str]) -> LoggedModel:
        made = self._call(
            "POST", "logged-models", experiment_id=experiment, name=name, source_run_id=run_id, tags=_pairs(tags)
        )
        return _model(made["model"])

    def finish_model(self, model_id: str) -> None:
        self._call("PATCH", f"logged-models/{model_id}", model_id=model_id, status="LOGGED_MODEL_READY")

    def model(self, model_id: str) -> LoggedModel:
        return _model(self._call("GET", f"logged-models/{model_id}")["model"])

    def find_version(self, name: str, tags: Mapping[str, str]) -> Version | None:
        query = f"name = '{name}' AND {tagged(tags)}"
        found = self._call("GET", "model-versions/search", filter=query, order_by="version_number ASC", max_results=1)
        return _version(found["model_versions"][0]) if found.get("model_versions") else None

    def create_version(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str]) -> Version:
        with contextlib.suppress(_ExistsError):
            self._call("POST", "registered-models/create", name=name)
        made = self._call(
            "POST",
            "model-versions/create",
            name=name,
            source=f"models:/{model_id}",
            run_id=run_id,
            model_id=model_id,
            tags=_pairs(tags),
        )
        return _version(made["model_version"])

    def version(self, name: str, number: int) -> Version:
        return _version(self._call("GET", "model-versions/get", name=name, version=str(number))["model_version"])

    def tag_version(self, name: str, number: int, tags: Mapping[str, str], description: str) -> None:
        for pair in _pairs(tags):
            self._call("POST", "model-versions/set-tag", name=name, version=str(number), **pair)
        self._call("PATCH", "model-versions/update", name=name, version=str(number), description=description)

    def find_alias(self, name: str, alias: str) -> int | None:
        found = self._find("GET", "registered-models/alias", name=name, alias=alias)
        return int(found["model_version"]["version"]) if found else None

    def set_alias(self, name: str, alias: str, number: int) -> None:
        self._call("POST", "registered-models/alias", name=name, alias=alias, version=str(number))

    def delete_alias(self, name: str, alias: str) -> None:
        self._call("DELETE", "registered-models/alias", name=name, alias=alias)

    def _find(self, method: str, path: str, **fields: Any) -> dict[str, Any] | None:
        try:
            return self._call(method, path, **fields)
        except MissingError:
            return None

    def _call(self, method: str, path: str, **fields: Any) -> dict[str, Any]:
        """The answer's JSON.

        Reading is tried again where the server is down or overloaded; writing only where no connection came about,
        because a request whose answer was lost may have been done. Whoever called finds that by its run key.
        """
        import httpx

        where = {"params": fields} if method == "GET" else {"json": fields}
        for pause in (*_PAUSES_S, None):
            try:
                answer = self._http.request(method, path, **where)  # type: ignore[arg-type]  # one of two keywords
            except httpx.TransportError as fault:
                may_repeat, reason = method == "GET" or isinstance(fault, httpx.ConnectError), repr(fault)
                cause: Exception | None = fault
            else:
                if answer.status_code < 500:
                    return self._checked(answer)
                may_repeat, reason, cause = method == "GET", f"status {answer.status_code}: {answer.text[:200]}", None
            if pause is None or not may_repeat:
                break
            time.sleep(pause)
        raise UnreachableError(
            f"MLflow at {self._place} does not answer ({reason}). Start it, or set EVERTUNE_MLFLOW_URI to where it is."
        ) from cause

    def _checked(self, answer: httpx.Response) -> dict[str, Any]:
        if answer.is_success:
            value: dict[str, Any] = answer.json()
            return value
        if answer.status_code in (401, 403):
            raise EvertuneError(
                f"MLflow at {self._place} refuses this login (status {answer.status_code}). Set "
                "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD; behind a proxy also its --allowed-hosts."
            )
        try:
            problem = answer.json()
            code, message = problem.get("error_code", ""), problem.get("message", "")
        except ValueError:
            code, message = "", answer.text[:300]
        kind = (
            _ExistsError
            if code == "RESOURCE_ALREADY_EXISTS"
            else MissingError
            if is_missing(code, message)
            else EvertuneError
        )
        raise kind(
            f"MLflow at {self._place} refuses {answer.request.url.path}: {message} ({answer.status_code} {code})"
        )


class _ExistsError(EvertuneError):
    """It is there already."""


def _pairs(values: Mapping[str, str]) -> list[dict[str, str]]:
    return [{"key": key, "value": value} for key, value in values.items()]


def _number(value: float) -> float | str:
    if math.isnan(value):
        return "NaN"
    return value if math.isfinite(value) else "Infinity" if value > 0 else "-Infinity"


def _run(value: dict[str, Any]) -> TrackedRun:
    info, params = value["info"], value.get("data", {}).get("params", [])
    return TrackedRun(
        info["run_id"],
        info["experiment_id"],
        info["status"],
        info["artifact_uri"],
        {p["key"]: p["value"] for p in params},
    )


def _model(value: dict[str, Any]) -> LoggedModel:
    info = value["info"]
    return LoggedModel(info["model_id"], info["artifact_uri"], info["status"] == "LOGGED_MODEL_READY")


def _version(value: dict[str, Any]) -> Version:
    tags = {tag["key"]: tag["value"] for tag in value.get("tags", [])}
    return Version(int(value["version"]), value.get("source", ""), tags, value.get("description", ""))
