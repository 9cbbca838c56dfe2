"""A process that was started is known again, whatever the clock does meanwhile, and no other is taken for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from scripts.installation import MARK, installation

from evertune import files
from evertune.settings import Settings
from scripts import processes

WAITS = "import time; time.sleep(300)"
LEADS = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', '{WAITS}']).pid, flush=True)"


@pytest.fixture
def one() -> Iterator[psutil.Process]:
    """A process that runs."""
    with subprocess.Popen([sys.executable, "-c", WAITS]) as child:
        yield psutil.Process(child.pid)
        child.kill()


@pytest.fixture
def orphan() -> Iterator[tuple[dict[str, Any], psutil.Process]]:
    """The record of one that has ended, and another that stayed behind in its session without the mark."""
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    command = [sys.executable, "-c", LEADS]
    with subprocess.Popen(command, env=unmarked, stdout=subprocess.PIPE, text=True, start_new_session=True) as child:
        recorded = processes.record(psutil.Process(child.pid))
        assert child.stdout is not None
        left = psutil.Process(int(child.stdout.readline()))
    yield recorded, left
    left.send_signal(signal.SIGKILL)


def step_the_clock(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """As the kernel does: what runs already seems to have begun later, or earlier, too."""
    before = psutil.Process.create_time
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: before(process) + seconds)


@pytest.mark.parametrize("seconds", [-3600.0, 1.0])
def test_it_is_known_again_when_the_clock_was_set(
    one: psutil.Process, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    recorded = processes.record(one)
    step_the_clock(monkeypatch, seconds)
    assert processes.alive(recorded) == psutil.Process(one.pid)


@pytest.mark.parametrize("other", [{"boot": "an earlier one"}, {"ticks": 1}], ids=str)
def test_a_number_that_another_has_by_now_is_not_it(one: psutil.Process, other: dict[str, Any]) -> None:
    assert processes.alive({**processes.record(one), **other}) is None


def test_a_record_of_an_earlier_version_is_understood(one: psutil.Process) -> None:
    assert processes.alive({"pid": one.pid, "created": one.create_time()}) is not None
    assert processes.alive({"pid": one.pid, "created": one.create_time() - 1}) is None


def test_where_the_system_tells_no_boot_the_time_of_day_counts(
    one: psutil.Process, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(processes, "_BOOT", tmp_path / "none")
    recorded = processes.record(one)
    assert set(recorded) == {"pid", "created"}
    assert processes.alive(recorded) is not None


def test_what_is_left_of_a_session_is_found_when_the_clock_was_set(
    environment: Settings, orphan: tuple[dict[str, Any], psutil.Process], monkeypatch: pytest.MonkeyPatch
) -> None:
    recorded, left = orphan
    place = installation()
    files.write_json(place.folder / "processes.json", {"airflow-scheduler": recorded})
    step_the_clock(monkeypatch, -3600.0)
    assert left.pid in [found.pid for found in processes.offspring(place)]


def test_a_session_of_another_boot_is_somebody_elses(
    environment: Settings, orphan: tuple[dict[str, Any], psutil.Process]
) -> None:
    recorded, left = orphan
    place = installation()
    before = {**recorded, "boot": "an earlier one", "ticks": recorded["ticks"] - 1, "created": recorded["created"] - 1}
    files.write_json(place.folder / "processes.json", {"airflow-scheduler": before})
    assert left.pid not in [found.pid for found in processes.offspring(place)]
