"""Files to and from MLflow's artefact store.

A store that is a folder is written as files, without MLflow: embedded, server and jobs share the disk. Any other
(``s3://``, ``gs://``, ``mlflow-artifacts:``) goes through MLflow's own library.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

from evertune.records import EvertuneError, UnreachableError
from evertune.releases.mlflow.store import MissingError, place
from evertune.settings import Settings

_BOUNDS = {
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
_bounds_lock = threading.Lock()


def upload(settings: Settings, source: Path, uri: str) -> None:
    """Copy a file, or what lies in a folder, into the folder ``uri``. What was there stays or is replaced."""
    folder = local(uri)
    if folder is None:
        with _library(uri), _bounded():
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            repository = get_artifact_repository(uri, tracking_uri=settings.mlflow_uri)
            repository.log_artifacts(str(source)) if source.is_dir() else repository.log_artifact(str(source))
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if source.is_dir():
            shutil.copytree(source, folder, dirs_exist_ok=True)
        else:
            shutil.copy2(source, folder)
    except (OSError, shutil.Error) as fault:
        raise EvertuneError(
            f"MLflow keeps its artefacts in {folder}, which cannot be written here ({fault}). Free space or mend the "
            "rights; where the server is on another machine, use a store that both reach (EVERTUNE_MLFLOW_ARTIFACTS)."
        ) from fault


def download(settings: Settings, uri: str, to: Path) -> None:
    """Copy what lies in the folder ``uri``, or the file, into the folder ``to``.

    Raises :class:`MissingError` where it is gone.
    """
    folder = local(uri)
    if folder is None:
        with _library(uri), _bounded():
            from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

            get_artifact_repository(uri, tracking_uri=settings.mlflow_uri).download_artifacts("", str(to))
        return
    if folder.is_file():
        shutil.copy(folder, to)
        return
    if not folder.is_dir():
        raise MissingError(f"{folder} is gone from MLflow's artefacts: somebody has deleted it.")
    shutil.copytree(folder, to, dirs_exist_ok=True, symlinks=True)


def local(uri: str) -> Path | None:
    """The folder behind the URI, where it is one of this machine."""
    parts = urlsplit(uri)
    if parts.scheme not in ("", "file"):
        return None
    return Path(unquote(parts.path) if parts.scheme else uri)


@contextlib.contextmanager
def _library(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as fault:  # whatever the store's own library raises
        raise UnreachableError(f"MLflow's artefact store {place(uri)} does not answer: {fault}") from fault


@contextlib.contextmanager
def _bounded() -> Iterator[None]:
    """Let MLflow's library give up after a minute or two; as it comes it tries each request for half an hour.

    It reads these variables at each request, so they are set around the call only, and one call at a time.
    """
    with _bounds_lock:
        before = {name: os.environ.get(name) for name in _BOUNDS}
        for name, value in _BOUNDS.items():
            os.environ.setdefault(name, value)
        try:
            yield
        finally:
            for name, was in before.items():
                if was is None:
                    os.environ.pop(name, None)
