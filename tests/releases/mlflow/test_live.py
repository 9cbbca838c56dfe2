from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from evertune.project import Project
from evertune.releases import mlflow
from evertune.releases.mlflow import unsent
from evertune.releases.mlflow.store import Point
from evertune.settings import Settings, load


@pytest.fixture
def away(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path), "EVERTUNE_MLFLOW_URI": "http://127.0.0.1:9"})


def kept(settings: Settings, run_id: str) -> list[str]:
    return [point.key for point in unsent._points(unsent._bytes(unsent.path_of(settings, run_id)))]


def test_without_mlflow_nothing_is_lost(away: Settings) -> None:
    with mlflow.Live(away, "run", flush_s=0.05, system_s=60) as live:
        for step in range(1000):
            live(step, {"loss": 1 / (step + 1), "f1": None})
    keys = kept(away, "run")
    assert keys.count("loss") == 1000
    assert "f1" not in keys
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= set(keys)


def test_an_mlflow_that_hangs_holds_neither_the_training_nor_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("evertune.releases.mlflow.live._TIMEOUT_S", 10_000.0)  # one call that waited would not end
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # takes connections and never answers
        uri = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        where = load({"EVERTUNE_HOME": str(tmp_path), "EVERTUNE_MLFLOW_URI": uri})
        live = mlflow.Live(where, "run", flush_s=0.05, system_s=60)
        live(1, {"loss": 1.0})
        time.sleep(0.3)
        live(2, {"loss": 0.5})
        live.close(timeout_s=0.5)
        assert kept(where, "run").count("loss") == 2


def test_a_full_disk_harms_no_training(away: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(unsent, "keep", full)
    with mlflow.Live(away, "run", flush_s=0.05) as live:
        live(1, {"loss": 1.0})


def test_a_torn_line_costs_one_point(away: Settings) -> None:
    unsent.keep(away, "run", [Point("a", 1.0, 1, 1)])
    path = unsent.path_of(away, "run")
    path.write_text(path.read_text() + '["b", 2.')
    assert kept(away, "run") == ["a"]


@pytest.mark.integration
def test_metrics_arrive_while_it_runs_and_the_rest_with_the_next_call(
    either: Settings, project: Project, tmp_path: Path
) -> None:
    from mlflow import MlflowClient

    run_id = mlflow.start_run(either, project, "key", {})
    unsent.keep(either, run_id, [Point("loss", 9.0, 1, 0)])  # left behind by a process that was killed
    client = MlflowClient(either.mlflow_uri)
    with mlflow.Live(either, run_id, flush_s=0.1, system_s=1) as live:
        for step in range(1, 601):
            live(step, {"loss": 1 / step, "learning_rate": float("nan")})
        deadline = time.monotonic() + 60
        while len(client.get_metric_history(run_id, "loss")) < 601:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        live(601, {"loss": 0.0})
    mlflow.log_metrics(either, run_id, {"test.f1": 1.0}, 0)
    assert not unsent.path_of(either, run_id).exists()
    steps = [point.step for point in client.get_metric_history(run_id, "loss")]
    assert sorted(steps) == list(range(602))
    assert client.get_metric_history(run_id, "system/cpu_utilization_percentage")


@pytest.mark.faults
@pytest.mark.integration
def test_a_killed_training_loses_seconds_of_metrics_at_most(server: Settings, login: None, project: Project) -> None:
    run_id = mlflow.start_run(server, project, "key", {})
    script = (
        "import sys, time; from evertune import settings; from evertune.releases import mlflow\n"
        "live = mlflow.Live(settings.load(), sys.argv[1], flush_s=0.2)\n"
        "for step in range(100000):\n    live(step, {'loss': 1.0}); print(step, flush=True); time.sleep(0.01)"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, run_id], env=os.environ | server.environment(), stdout=subprocess.PIPE, text=True
    )
    assert child.stdout is not None
    step = 0
    while step < 300:
        step = int(child.stdout.readline())
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()
    mlflow.end_run(server, run_id, "KILLED")
    from mlflow import MlflowClient

    arrived = MlflowClient(server.mlflow_uri).get_metric_history(run_id, "loss")
    assert len(arrived) >= 200
