"""retrain__<project>: its task is killed with -9 in the middle of the training, and tried again."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import psutil
import pytest
from tests import quick
from tests.quick import SLUG

from evertune import files
from evertune.ledger import engine, releases, runs
from evertune.settings import Settings

pytestmark = [pytest.mark.integration, pytest.mark.faults]

DATE = "2026-01-02T03:04:05+00:00"


class Retried(NamedTuple):
    """What was there when the task was killed, and what came of its retry."""

    where: Settings
    killed: str
    """Key of the run that the killed task worked on."""
    trainer: psutil.Process
    """The training, as it was found just after the kill."""
    states: dict[str, Any]
    buttons: dict[str, Any]


@pytest.fixture(scope="module")
def retried(tmp_path_factory: pytest.TempPathFactory, registry: Path, airflow_db: Path) -> Retried:
    where = quick.home(tmp_path_factory.mktemp("killed"), registry)
    quick.write(where, tuning={**quick.TUNING, "epochs": 100, "early_stopping": None, "checkpoint_s": 0.2})
    environment = quick.airflow(where, airflow_db)
    first = _start(environment)
    deadline = time.monotonic() + 500
    while not any(where.jobs.glob("*/checkpoints/*/manifest.json")):
        assert first.poll() is None, first.communicate()[1][-3000:]
        assert time.monotonic() < deadline
        time.sleep(0.05)
    (run,) = runs.history(engine.ready(where.database_url), SLUG)
    first.kill()
    first.communicate()
    trainer = _holder(where.jobs / run.key / "lock")
    second = _start(environment)
    printed, faults = second.communicate(timeout=400)
    assert second.returncode == 0, printed[-3000:] + faults[-3000:]
    return Retried(where, run.key, trainer, _told(printed, "STATES"), _told(printed, "BUTTONS"))


def _start(environment: dict[str, str]) -> subprocess.Popen[str]:
    """The DAG run of that date; a second time, its tasks are retries."""
    asked = json.dumps({"reason": "to be killed"})
    command = [sys.executable, str(Path(__file__).with_name("run_dag.py")), f"retrain__{SLUG}", asked, DATE]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def _told(printed: str, what: str) -> dict[str, Any]:
    line = next(line for line in printed.splitlines() if line.startswith(f"{what} "))
    return dict(json.loads(line.removeprefix(f"{what} ")))


def _holder(lock: Path) -> psutil.Process:
    """The process that works on the job."""
    with pytest.raises(files.BusyError), files.lock(lock):
        pass
    (found,) = [one for one in psutil.process_iter(["cmdline"]) if str(lock.parent) in (one.info["cmdline"] or [])]
    return found


def test_the_retry_attaches_to_the_living_trainer_and_finishes_the_run(retried: Retried) -> None:
    assert set(retried.states.values()) == {"success"}, retried.states
    ledger = engine.ready(retried.where.database_url)
    (run,) = runs.history(ledger, SLUG)
    assert (run.key, run.decision, run.reasons) == (retried.killed, "promote", ("to be killed",))
    assert (retried.where.jobs / run.key / "log.txt").read_text().count("--- 20") == 1, "one trainer, never a second"
    assert not retried.trainer.is_running()
    assert [release.generation for release in releases.history(ledger, SLUG)] == [1]


def test_the_task_validate_has_a_button_to_the_data_docs(retried: Retried) -> None:
    assert set(retried.buttons) == {"validate"}
    page = Path(retried.buttons["validate"])
    assert page.is_relative_to(retried.where.home / "mlflow" / "artifacts" / SLUG)
    assert f"Validation of {SLUG}" in page.read_text()
