"""A real MLflow server with a login, and MLflow's own database, each shared by the session; each test has its slug."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.support import held_port

from evertune import files
from evertune.project import Project
from evertune.records import ClassScores, Evaluation, Scores, Slice
from evertune.settings import Settings, load

USER, PASSWORD = "admin", "a-password-of-the-tests"


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """Settings of a home whose MLflow is a server, as the embedded installation starts it."""
    with held_port() as port, _serving(tmp_path_factory.mktemp("server"), port) as settings:
        yield settings


@contextlib.contextmanager
def _serving(home: Path, port: int) -> Iterator[Settings]:
    (home / "mlflow" / "artifacts").mkdir(parents=True)
    (home / "auth.ini").write_text(
        f"[mlflow]\ndefault_permission = NO_PERMISSIONS\ndatabase_uri = sqlite:///{home}/mlflow/auth.db\n"
        f"admin_username = {USER}\nadmin_password = {PASSWORD}\n"
        "authorization_function = mlflow.server.auth:authenticate_request_basic_auth\n"
    )
    command = [
        sys.executable, "-m", "mlflow", "server", "--app-name", "basic-auth", "--host", "127.0.0.1",
        "--port", str(port), "--workers", "1", "--no-serve-artifacts",
        "--backend-store-uri", f"sqlite:///{home}/mlflow/mlflow.db",
        "--default-artifact-root", f"{home}/mlflow/artifacts",
    ]  # fmt: skip
    environment = os.environ | {
        "MLFLOW_AUTH_CONFIG_PATH": str(home / "auth.ini"),
        "MLFLOW_FLASK_SERVER_SECRET_KEY": uuid.uuid4().hex,
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false",
        "MLFLOW_DISABLE_TELEMETRY": "true",
    }
    with (home / "server.log").open("wb") as log:
        process = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
    uri = f"http://127.0.0.1:{port}"
    try:
        _wait(f"{uri}/health", process, home / "server.log")
        yield load({"EVERTUNE_HOME": str(home), "EVERTUNE_MLFLOW_URI": uri, "EVERTUNE_MLFLOW_UI": uri})
    finally:
        os.killpg(process.pid, 15)
        process.wait(120)


def _wait(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    for _ in range(1200):
        assert process.poll() is None, log.read_text()
        try:
            if httpx.get(url, timeout=20).is_success:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.5)
    raise AssertionError(log.read_text())


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Settings of a home whose MLflow is an SQLite file: the default."""
    return load({"EVERTUNE_HOME": str(tmp_path_factory.mktemp("database"))})


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)


@pytest.fixture(params=["server", "database"])
def either(request: pytest.FixtureRequest, login: None) -> Settings:
    """MLflow in both forms: what the tests say must hold in each."""
    settings: Settings = request.getfixturevalue(request.param)
    return settings


@pytest.fixture
def project() -> Project:
    return Project.model_validate(
        {
            "schema_version": 1,
            "slug": f"p-{uuid.uuid4().hex[:8]}",
            "owner": "team | one",
            "data": {
                "sources": [{"uri": "/data/reviews.csv"}],
                "columns": {"text": "text", "label": "label"},
            },
            "base": {"uri": "/models/base"},
        }
    )


@pytest.fixture
def evaluation() -> Evaluation:
    one = ClassScores(precision=0.8, recall=0.9, f1=0.847, support=50)
    scores = Scores(
        rows=100, accuracy=0.85, precision=0.8, recall=0.9, f1=0.847, calibration_error=0.02, log_loss=0.4,
        per_class={"bad": one, "good": one}, confusion=((40, 10), (5, 45)),
    )  # fmt: skip
    return Evaluation(
        run_key="run-1", dataset_version="d" * 64, challenger=scores, champion=scores, champion_generation=3,
        baselines={"majority": scores}, slices=(Slice(name="domain=a|b", rows=40, challenger=scores),),
        latency_ms={"p50": 1.5, "p95": 3.25}, model_bytes=90_000_000, pairs="/pairs.parquet",
    )  # fmt: skip


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """A sealed folder: the registry looks at bytes and digests only."""
    with files.new_folder(tmp_path / "bundle") as folder:
        (folder / "model.safetensors").write_bytes(os.urandom(1000))
        files.write_json(folder / "evertune.json", {"labels": ["bad", "good"]})
    return tmp_path / "bundle"
