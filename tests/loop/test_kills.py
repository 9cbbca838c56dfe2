"""kill -9 in the middle of a real training: of who asked, and of the trainer too. The next one finishes that run."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests.support import small_project, write_project

from evertune import jobs
from evertune.ledger import engine, releases, runs
from evertune.settings import Settings

pytestmark = [pytest.mark.faults, pytest.mark.timeout(600)]
LEASE_S = 5


def _start() -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "evertune.cli.main", "run", "small-reviews", "--json"]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def _until(true: Callable[[], bool], seconds: float = 240) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


def _trainers(where: Settings) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if "evertune.loop.tuning_job" in words and any(str(where.jobs) in word for word in words):
                found.append(process)
    return found


def _checkpoint(where: Settings) -> bool:
    return any(where.jobs.glob("*/checkpoints/*/manifest.json"))


@pytest.mark.parametrize("victims", ["who asked", "both"])  # tests/jobs kills the worker alone
def test_a_killed_training_is_finished_once(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, victims: str
) -> None:
    monkeypatch.setenv("EVERTUNE_LEASE_S", str(LEASE_S))
    tuning = {"epochs": 2, "tokens_per_batch": 256, "learning_rate": 2e-4, "checkpoint_s": 0.5}
    write_project(environment, small_project(tuning=tuning))
    first = _start()
    _until(lambda: _checkpoint(environment))
    ledger = engine.ready(environment.database_url)
    (begun,) = runs.history(ledger, "small-reviews")
    (trainer,) = _trainers(environment)
    first.kill()
    first.communicate()
    if victims == "both":
        trainer.kill()
    printed, _ = _after_the_lease().communicate()
    outcome = json.loads(printed)
    assert outcome["run_key"] == begun.key
    assert outcome["verdict"]["decision"] == "promote"
    starts = (Path(environment.jobs) / begun.key / "log.txt").read_text().count("--- 20")
    assert starts == (1 if victims == "who asked" else 2)
    assert [release.generation for release in releases.history(ledger, "small-reviews")] == [1]
    assert _trainers(environment) == []
    assert jobs.progress(environment, begun.key)["phase"] == "register"


def _after_the_lease() -> subprocess.Popen[str]:
    time.sleep(LEASE_S + 1)
    return _start()
