"""The whole pass on real data, in one process, with a real trainer, DVC, Great Expectations and MLflow."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.support import small_project, write_project

from evertune.ledger import engine, steps
from evertune.records import Step
from evertune.releases.mlflow.store import connect
from evertune.settings import Settings

pytestmark = pytest.mark.integration

OUTCOME = {
    "run_key", "project", "data_version", "rows", "method", "metrics", "baseline", "champion", "verdict", "release",
    "seconds",
}  # fmt: skip
"""What `evertune run --json` promises to print."""


def evertune(*arguments: str) -> tuple[int, dict[str, Any]]:
    command = [sys.executable, "-m", "evertune.cli.main", *arguments, "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stdout, done.stderr[-4000:]
    return done.returncode, json.loads(done.stdout)


def test_a_pass_promotes_and_the_next_one_is_unchanged(environment: Settings, tmp_path: Path) -> None:
    path = write_project(environment, small_project())
    started = time.monotonic()
    status, first = evertune("run", "small-reviews")
    took = time.monotonic() - started
    assert status == 0, first
    assert first["verdict"]["decision"] == "promote"
    assert first["release"]["generation"] == 1
    assert set(first) >= OUTCOME
    assert first["champion"] is None
    assert set(first["rows"]) >= {"drawn", "quarantined", "deduplicated", "train", "validation", "test"}
    assert set(first["metrics"]) >= {"accuracy", "precision", "recall", "f1"}
    assert set(first["seconds"]) >= {"snapshot", "validate", "prepare", "tune"}
    assert first["metrics"]["accuracy"] > first["baseline"]["majority"]["accuracy"]
    rows = first["rows"]
    assert rows["drawn"] == sum(count for name, count in rows.items() if name not in {"drawn", "traffic"})
    assert all(Path(picture).stat().st_size > 5_000 for picture in first["pictures"])
    assert len(first["pictures"]) >= 2
    assert not list(environment.jobs.glob("*/bundle")), "the registry has it: a copy a night would fill the disk"

    _preflight_is_told(environment, first["run_key"])

    started = time.monotonic()
    status, second = evertune("run", str(path))
    print(f"first {took:.1f} s, unchanged {time.monotonic() - started:.1f} s")
    assert (status, second["verdict"]["decision"]) == (0, "unchanged")
    assert second["run_key"] != first["run_key"]
    assert second["metrics"] == first["metrics"]

    # What only says how to judge does not draw or prepare again, but it is another plan.
    document = yaml.safe_load(path.read_text())
    document["gate"]["smallest_gain"] = 0.02
    write_project(environment, document)
    status, third = evertune("run", "small-reviews")
    assert third["data_version"] == first["data_version"]
    assert third["seconds"]["tune"] > 0
    # The same seed gave the same model again, which answers every test row as the champion does.
    assert (status, third["verdict"]["decision"]) == (0, "unchanged")
    assert third["champion"] == third["metrics"]
    assert third["release"]["generation"] == 1

    # The data of the first version come back from the remote and the ledger alone: the project's file is gone.
    path.unlink()
    bytes_before = _digests(environment.runs / first["run_key"] / "data" / "small-reviews" / "dataset")
    plans = environment.runs / first["run_key"] / "plans" / "small-reviews"
    snapshot_plan = json.loads((plans / "snapshot.json").read_text())
    shutil.rmtree(environment.home / "cache" / "dvc")
    shutil.rmtree(environment.runs)
    status, told = evertune("data", "checkout", "small-reviews", "--model-version", "1", "--to", str(tmp_path / "back"))
    assert status == 0, told
    assert bytes_before
    assert bytes_before.items() <= _digests(Path(told["folder"])).items()
    plan = json.loads((tmp_path / "back" / "plans" / "small-reviews" / "snapshot.json").read_text())
    assert plan == snapshot_plan
    # The model version has what brings them back, too: for where the ledger is lost.
    kept = [path.parent for path in Path(environment.mlflow_artifacts).rglob("dvc.lock")]
    locks = [(folder / "dvc.lock").read_text() for folder in kept]
    assert (tmp_path / "back" / "dvc.lock").read_text() in locks
    assert json.loads((kept[0] / "plans" / "small-reviews" / "snapshot.json").read_text()) == snapshot_plan


def _preflight_is_told(where: Settings, run_key: str) -> None:
    tuned = steps.result(engine.ready(where.database_url), run_key, Step.TUNE) or {}
    assert 0 < tuned["preflight"]["needed"] < tuned["preflight"]["available"]
    assert "preflight: needs about" in (where.jobs / run_key / "log.txt").read_text()
    store = connect(where)
    run = store.find_run(store.experiment("small-reviews", where.mlflow_artifacts), run_key)
    assert run is not None
    assert run.params["preflight.needed"] == str(tuned["preflight"]["needed"])


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "dataset" in str(path)
    }


def test_unfit_data_stop_the_run_with_status_2_and_a_failed_run(environment: Settings, tmp_path: Path) -> None:
    bad = tmp_path / "bad.csv"
    bad.write_text("text,label\n" + "same text,a\n" * 300)
    data = {"sources": [{"uri": str(bad)}], "columns": {"text": "text", "label": "label"}}
    write_project(environment, small_project("one-text", data=data, evaluation={}))
    status, told = evertune("run", "one-text")
    assert status == 2
    assert "one" in told["error"]["message"]
    _, found = evertune("status", "one-text")
    assert found["projects"][0]["active"] is None
    assert found["projects"][0]["last_error"]
