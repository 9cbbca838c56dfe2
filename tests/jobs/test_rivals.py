"""Starters and workers that are killed, and starters that meet: at most one worker, and its work is not lost."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from evertune import files, jobs
from evertune.settings import Settings

MODULE = "job_of_the_tests"
START = (
    "import json, sys; from evertune import jobs, settings\n"
    "result = jobs.attach(settings.load(), 'job', sys.argv[1], json.loads(sys.argv[2]), lambda _: None, "
    "attempts=50, poll_s=0.05)\nprint(json.dumps(result))"
)


def starter(settings: Settings, payload: dict[str, Any]) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", START, MODULE, json.dumps(payload)]
    return subprocess.Popen(command, env=os.environ | settings.environment(), stdout=subprocess.PIPE, text=True)


def starts(settings: Settings) -> list[int]:
    path = settings.jobs / "job" / "starts"
    return [int(line) for line in path.read_text().split()] if path.exists() else []


def checkpoint(settings: Settings) -> int:
    path = settings.jobs / "job" / "checkpoints" / "step"
    return int(path.read_text()) if path.exists() else 0


def wait(reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 240
    while not reached():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.communicate()


def attach(settings: Settings, payload: dict[str, Any]) -> dict[str, Any]:
    return jobs.attach(settings, "job", MODULE, payload, lambda _: None, poll_s=0.05)


def test_rivals_that_start_at_once_make_one_worker(settings: Settings) -> None:
    found: list[dict[str, Any]] = []
    threads = [threading.Thread(target=lambda: found.append(attach(settings, {"steps": 2}))) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 8
    assert all(one == found[0] for one in found)
    assert len(starts(settings)) == 1


@pytest.mark.faults
def test_eight_processes_that_start_at_once_make_one_worker(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_IMPORT_S", "3")  # the worker imports longer than any rival looks
    rivals = [starter(settings, {"steps": 2}) for _ in range(8)]
    found = {rival.communicate(timeout=280)[0] for rival in rivals}
    assert len(found) == 1
    assert len(starts(settings)) == 1
    assert (settings.jobs / "job" / "log.txt").read_text().count("---") == 1, "nor may a second one have begun"


@pytest.mark.faults
def test_a_killed_starter_leaves_its_worker_to_the_next(settings: Settings) -> None:
    payload = {"steps": 60, "waits_at": 3}
    first = starter(settings, payload)
    wait(lambda: checkpoint(settings) == 3)
    kill(first)
    (settings.jobs / "job" / "go").touch()
    wait(lambda: checkpoint(settings) > 3)
    assert attach(settings, payload)["first"] == 0
    assert len(starts(settings)) == 1


@pytest.mark.faults
def test_a_starter_that_is_killed_while_its_worker_imports_leaves_it_too(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_IMPORT_S", "2")
    first = starter(settings, {"steps": 2})
    log = settings.jobs / "job" / "log.txt"
    wait(lambda: log.exists() and bool(log.read_text()))
    time.sleep(0.3)
    kill(first)
    assert attach(settings, {"steps": 2})
    assert len(starts(settings)) == 1
    assert log.read_text().count("---") == 1


@pytest.mark.faults
def test_both_killed_the_next_one_resumes(settings: Settings) -> None:
    payload = {"steps": 40, "waits_at": 3}
    first = starter(settings, payload)
    wait(lambda: checkpoint(settings) == 3)
    kill(first)
    os.kill(starts(settings)[0], signal.SIGKILL)
    assert attach(settings, payload)["first"] == 3
    assert len(starts(settings)) == 2


@pytest.mark.faults
def test_kills_at_random_never_make_two_workers_and_lose_no_step(settings: Settings) -> None:
    payload, luck = {"steps": 150, "step_s": 0.05}, random.Random(5)
    starters = [starter(settings, payload) for _ in range(2)]
    kills = 0
    while not (settings.jobs / "job" / "result.json").exists() and kills < 40:
        time.sleep(luck.uniform(0.05, 0.8))
        if luck.random() < 0.5 and starts(settings):
            try:
                os.kill(starts(settings)[-1], signal.SIGKILL)
            except ProcessLookupError:
                continue
        else:
            kill(starters.pop(0))
            starters.append(starter(settings, payload))
        kills += 1
    found = [json.loads(one.communicate(timeout=280)[0]) for one in starters]
    assert kills > 5
    assert found[0] == found[1]
    assert checkpoint(settings) == 150
    assert not (settings.jobs / "job" / "two").exists()


def test_a_worker_started_by_hand_leaves_where_another_works(settings: Settings, tmp_path: Path) -> None:
    folder = settings.jobs / "job"
    files.write_json(folder / "job.json", {})
    with files.lock(folder / "lock"):
        command = [sys.executable, "-P", "-m", MODULE, str(folder)]
        done = subprocess.run(
            command, env=os.environ | settings.environment(), capture_output=True, text=True, check=False
        )
    assert done.returncode == jobs.BUSY
    assert "another worker" in done.stderr
    assert not starts(settings)
