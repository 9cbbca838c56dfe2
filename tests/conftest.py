"""Fixtures for all rooms."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from tests.buckets import gs, s3

from evertune import files
from evertune.settings import Settings, load

__all__ = ["gs", "s3"]

ROOT = Path(__file__).resolve().parent.parent


def pytest_configure() -> None:
    """Tables are as wide wherever the tests run: in a narrow terminal, or none, their cells would be cut."""
    os.environ["COLUMNS"] = "200"
    # A machine that is busy, or a disk, is slow at times: only a wrong answer may fail a law.
    settings.register_profile("patient", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("patient")
    # Libraries keep their files in one place for all tests: else each home would wait for matplotlib's list of fonts.
    cache = Path(os.environ.get("EVERTUNE_HOME", ROOT / ".evertune")).absolute() / "cache"
    for name in ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        os.environ.setdefault(name, str(cache / name.lower()))


@pytest.fixture(autouse=True)
def exact_floats() -> Iterator[None]:
    """Training lets the processor take the smallest floats for zero; what comes after it in this process must not."""
    yield
    if (torch := sys.modules.get("torch")) is not None:
        torch.set_flush_denormal(False)


@pytest.fixture
def where(tmp_path: Path) -> Settings:
    """Settings whose home and projects are this test's own."""
    return load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_PROJECTS": str(tmp_path / "projects")})


@pytest.fixture(scope="session")
def wheels() -> Path:
    """The checkout's cache of downloaded wheels, so that only the first test that needs one waits for it."""
    folder = Path(os.environ.get("EVERTUNE_HOME", ROOT / ".evertune")) / "cache" / "wheels"
    folder.mkdir(parents=True, exist_ok=True)
    return folder


@pytest.fixture
def warm(where: Settings, wheels: Path) -> Settings:
    """Settings of this test's own with the shared downloads."""
    (where.home / "cache").mkdir(parents=True)
    (where.home / "cache" / "wheels").symlink_to(wheels)
    where.projects.mkdir()
    return where


@pytest.fixture
def environment(warm: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The same as this process's environment, for what reads it and for subprocesses."""
    monkeypatch.setenv("EVERTUNE_HOME", str(warm.home))
    monkeypatch.setenv("EVERTUNE_PROJECTS", str(warm.projects))
    for name in ("EVERTUNE_DATABASE_URL", "EVERTUNE_MLFLOW_URI", "EVERTUNE_MLFLOW_ARTIFACTS", "EVERTUNE_REMOTE"):
        monkeypatch.delenv(name, raising=False)
    return warm


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with nothing in it, for homes to copy: MLflow takes 7 s to make one."""
    from evertune.releases.mlflow.store import connect

    home = _once(tmp_path_factory, "registry", lambda folder: connect(load({"EVERTUNE_HOME": str(folder)})))
    return home / "mlflow" / "mlflow.db"


@pytest.fixture(scope="session")
def airflow_db(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An Airflow database with nothing in it, for Airflow's homes to copy: it takes 15 s to make one."""

    def migrate(folder: Path) -> None:
        environment = {**os.environ, "AIRFLOW_HOME": str(folder), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
        command = [sys.executable, "-m", "airflow", "db", "migrate"]
        subprocess.run(command, env=environment, check=True, capture_output=True)

    return _once(tmp_path_factory, "airflow-db", migrate) / "airflow.db"


def _once(tmp_path_factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that one of the processes which run the tests makes, and all of them read."""
    root = tmp_path_factory.getbasetemp()
    root = root.parent if "PYTEST_XDIST_WORKER" in os.environ else root
    folder = root / name
    with files.lock(root / f"{name}.lock", wait=True):
        if not folder.exists():
            aside = root / f"{name}.making"
            shutil.rmtree(aside, ignore_errors=True)  # another process may have failed at it
            aside.mkdir()
            make(aside)
            aside.rename(folder)
    return folder
