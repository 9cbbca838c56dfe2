"""What evertune needs of MLflow, and the two ways to get it: a server's REST API, or MLflow's own library.

A server is spoken to directly, because importing ``mlflow`` costs 5 to 9 s in every Airflow task. Without a server
(the default of ``evertune run``: an SQLite file) MLflow's library owns the database and is used as it is.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import NamedTuple, Protocol
from urllib.parse import urlsplit

from evertune.records import EvertuneError
from evertune.settings import Settings

RUN_KEY = "evertune.run_key"
"""Tag by which a run, a logged model and a model version are found again before they are made a second time."""
DIGEST = "evertune.digest"
"""Tag with the digest of the bundle, without which a version is not trusted."""
CHECKS = "evertune.checks"
"""Tag with the SHA-256 of the check rows' file; versions that are older than check rows have none."""
CHAMPION = "champion"
"""The alias of the version that answers."""


class MissingError(EvertuneError):
    """MLflow knows no such thing."""


class Point(NamedTuple):
    """One value of one metric."""

    key: str
    value: float
    timestamp: int
    """Milliseconds since 1970, UTC."""
    step: int


class TrackedRun(NamedTuple):
    """A run in MLflow."""

    id: str
    experiment: str
    status: str
    artifacts: str
    """URI of its artefacts' folder."""
    params: dict[str, str]


class LoggedModel(NamedTuple):
    """A model's folder in MLflow's artefact store, registered or not."""

    id: str
    artifacts: str
    """URI of its folder."""
    ready: bool
    """False while its files are being written."""


class Version(NamedTuple):
    """A version of a registered model."""

    number: int
    source: str
    """``models:/<id of the logged model>``, or the URI of a folder."""
    tags: dict[str, str]
    description: str

    @property
    def model_id(self) -> str | None:
        """The logged model that the version is of; ``None`` where somebody registered a plain folder."""
        name = self.source.removeprefix("models:/")
        return name if name != self.source and "/" not in name else None


class Store(Protocol):
    """The calls. Each raises :class:`UnreachableError` within bounded time where MLflow does not answer.

    "Find" returns ``None`` where there is nothing; the others raise :class:`MissingError`.
    """

    def experiment(self, name: str, artifacts: str) -> str:
        """The id of the experiment of this name, made with this artefact root, restored if it was deleted."""
        ...

    def find_run(self, experiment: str, run_key: str) -> TrackedRun | None:
        """The oldest run that is tagged with the run key."""
        ...

    def create_run(self, experiment: str, name: str, tags: Mapping[str, str]) -> TrackedRun:
        """A new run, running."""
        ...

    def run(self, run_id: str) -> TrackedRun:
        """The run of this id."""
        ...

    def set_status(self, run_id: str, status: str) -> None:
        """``RUNNING``, ``FINISHED``, ``FAILED`` or ``KILLED``."""
        ...

    def log(self, run_id: str, points: Sequence[Point], params: Mapping[str, str]) -> None:
        """Add metrics, at most 1,000, and params, at most 100."""
        ...

    def find_model(self, experiment: str, tags: Mapping[str, str]) -> LoggedModel | None:
        """The oldest logged model that has these tags."""
        ...

    def create_model(self, experiment: str, name: str, run_id: str, tags: Mapping[str, str]) -> LoggedModel:
        """A new logged model, its files still to come."""
        ...

    def finish_model(self, model_id: str) -> None:
        """Its files are there."""
        ...

    def model(self, model_id: str) -> LoggedModel:
        """The logged model of this id."""
        ...

    def find_version(self, name: str, tags: Mapping[str, str]) -> Version | None:
        """The oldest version that has these tags."""
        ...

    def create_version(self, name: str, model_id: str, run_id: str, tags: Mapping[str, str]) -> Version:
        """A new version of the registered model, which is made where it is not there."""
        ...

    def version(self, name: str, number: int) -> Version:
        """This version of the registered model."""
        ...

    def tag_version(self, name: str, number: int, tags: Mapping[str, str], description: str) -> None:
        """Set tags and the description that people see."""
        ...

    def find_alias(self, name: str, alias: str) -> int | None:
        """The version behind the alias."""
        ...

    def set_alias(self, name: str, alias: str, number: int) -> None:
        """Let the alias point to the version."""
        ...

    def delete_alias(self, name: str, alias: str) -> None:
        """Remove the alias."""
        ...


def connect(settings: Settings, timeout_s: float = 30.0) -> Store:
    """MLflow as the settings name it. ``timeout_s`` bounds one request to a server."""
    if is_server(settings):
        from evertune.releases.mlflow.rest import RestStore

        return RestStore(settings.mlflow_uri, timeout_s)
    from evertune.releases.mlflow.native import NativeStore

    return NativeStore(settings)


def is_server(settings: Settings) -> bool:
    """Whether MLflow is a server, rather than a database that this process opens."""
    return settings.mlflow_uri.startswith(("http://", "https://"))


def place(uri: str) -> str:
    """The URI without a login, for messages."""
    parts = urlsplit(uri)
    return uri.replace(parts.netloc, parts.netloc.rpartition("@")[2], 1) if "@" in parts.netloc else uri


def credentials() -> tuple[str, str] | None:
    """Login of the server, from the variables that MLflow's own client reads."""
    user = os.environ.get("MLFLOW_TRACKING_USERNAME")
    return (user, os.environ.get("MLFLOW_TRACKING_PASSWORD", "")) if user else None


def is_missing(code: str | None, message: str) -> bool:
    """Whether MLflow's error says that there is no such thing; for an alias it uses the code of a bad parameter."""
    return code == "RESOURCE_DOES_NOT_EXIST" or (code == "INVALID_PARAMETER_VALUE" and "not found" in message.lower())


def tagged(tags: Mapping[str, str]) -> str:
    """MLflow's search filter for what has all these tags."""
    quoted = {key: f'"{value}"' if "'" in value else f"'{value}'" for key, value in tags.items()}  # it knows no escape
    return " AND ".join(f"tags.`{key}` = {value}" for key, value in quoted.items())
