"""kill -9 in the middle of a training: of who asked, of the trainer, and of both. That run is finished, once."""

from __future__ import annotations

import contextlib
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from tests import quick
from tests.quick import SLUG

from evertune import jobs
from evertune.ledger import engine, events, releases, runs
from evertune.records import RunStatus
from evertune.settings import Settings

pytestmark = pytest.mark.faults
LEASE_S = 2


@pytest.fixture
def where(tmp_path: Path, registry: Path) -> Settings:
    """A home with a project whose training lasts for some seconds and leaves a checkpoint every fifth of one."""
    settings = quick.home(tmp_path, registry).model_copy(update={"lease_s": LEASE_S})
    quick.write(settings, tuning={**quick.TUNING, "epochs": 30, "early_stopping": None, "checkpoint_s": 0.2})
    return settings


def _start(where: Settings, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "evertune.cli.main", "run", SLUG, *options, "--json"]
    return subprocess.Popen(
        command, env=quick.environment(where), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )


def _until(true: Callable[[], bool], seconds: float = 600) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.02)


def _trainers(where: Settings) -> list[psutil.Process]:
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied):
            words = process.cmdline()
            if "evertune.loop.tuning_job" in words and any(str(where.jobs) in word for word in words):
                found.append(process)
    return found


def _checkpoint(where: Settings) -> int:
    """The step of the newest checkpoint that is whole; 0 where there is none."""
    return max((int(path.parent.name) for path in where.jobs.glob("*/checkpoints/[0-9]*/manifest.json")), default=0)


@pytest.mark.parametrize("victims", ["who asked", "the trainer", "both"])
def test_a_killed_training_is_finished_once(where: Settings, victims: str) -> None:
    asked = _start(where)
    _until(lambda: _checkpoint(where) > 0)
    (trainer,) = _trainers(where)
    reached = _checkpoint(where)
    if victims != "the trainer":
        asked.kill()
        asked.communicate()
    if victims != "who asked":
        trainer.kill()
    ledger = engine.ready(where.database_url)
    (begun,) = runs.history(ledger, SLUG)
    if victims != "the trainer":
        time.sleep(LEASE_S + 1)
        asked = _start(where)
    outcome = json.loads(asked.communicate(timeout=600)[0])

    assert (outcome["run_key"], outcome["verdict"]["decision"]) == (begun.key, "promote")
    log = (where.jobs / begun.key / "log.txt").read_text()
    assert log.count("--- 20") == (1 if victims == "who asked" else 2)
    resumed = [int(step) for step in re.findall(r"resumed from a checkpoint\s+step=(\d+)", log)]
    assert len(resumed) == (0 if victims == "who asked" else 1)
    assert all(step >= reached > 0 for step in resumed), "at most what lies between two checkpoints is done again"
    assert [release.generation for release in releases.history(ledger, SLUG)] == [1]
    kinds = [event.kind for event in events.after(ledger, SLUG, 0, limit=100)]
    assert kinds.count(events.Kind.RESUMED) == (victims != "the trainer"), "only a dead owner's run is taken over"
    assert _trainers(where) == []
    assert jobs.progress(where, begun.key)["phase"] == "register"


def test_what_a_dead_owner_left_ends_where_another_method_is_asked_for(where: Settings) -> None:
    asked = _start(where)
    _until(lambda: _checkpoint(where) > 0)
    asked.kill()
    asked.communicate()
    ledger = engine.ready(where.database_url)
    (begun,) = runs.history(ledger, SLUG)
    time.sleep(LEASE_S + 1)
    outcome = json.loads(_start(where, "--method", "lora").communicate(timeout=600)[0])
    assert (outcome["run_key"] != begun.key, outcome["method"]) == (True, "lora")
    newest, left = runs.history(ledger, SLUG)
    assert (newest.key, newest.decision is not None) == (outcome["run_key"], True)
    assert (left.key, left.status) == (begun.key, RunStatus.FAILED)
    assert _trainers(where) == [], "the trainer that went on without its owner was told to stop"


def test_what_an_interrupted_run_has_trained_is_gone_on_with_by_the_next(where: Settings) -> None:
    asked = _start(where)
    _until(lambda: _checkpoint(where) > 0)
    asked.send_signal(signal.SIGINT)
    told = json.loads(asked.communicate(timeout=600)[0])
    assert (asked.returncode, told["error"]["type"]) == (130, "Interrupted")
    ledger = engine.ready(where.database_url)
    (begun,) = runs.history(ledger, SLUG)
    assert begun.status is RunStatus.FAILED
    reached = _checkpoint(where)
    outcome = json.loads(_start(where).communicate(timeout=600)[0])
    assert (outcome["run_key"] != begun.key, outcome["verdict"]["decision"]) == (True, "promote")
    log = (where.jobs / outcome["run_key"] / "log.txt").read_text()
    (resumed,) = re.findall(r"resumed from a checkpoint\s+step=(\d+)", log)
    assert int(resumed) >= reached > 0
