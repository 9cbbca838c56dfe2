"""`make down` ends what `make up` started, all of it, and nothing else."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
from scripts.installation import MARK, Embedded, installation

from evertune import files
from evertune.settings import Settings
from scripts import embedded, processes

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning"),  # it outlives `up`, as it must
]

SLEEPER = ["-c", "import time; time.sleep(300)", "airflow", "scheduler", "--skip-serve-logs"]
SCHEDULER = """
import os, subprocess, sys, time
unmarked = {name: value for name, value in os.environ.items() if name != sys.argv[2]}
worker = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], env=unmarked)
trainer = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"], start_new_session=True)
aside = sys.argv[1] + ".aside"
open(aside, "w").write(f"{worker.pid} {trainer.pid}")
os.replace(aside, sys.argv[1])
time.sleep(300)
"""
"""Has a worker in its session that does not show its mark, as Airflow's do not, and a training in a session apart."""


@pytest.fixture
def started(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], list[psutil.Process]]]:
    """Starts an installation of one component with two children; the processes, that one first."""
    place, children = installation(), environment.home / "children"
    monkeypatch.setattr(
        embedded, "_commands", lambda _: {"airflow-scheduler": [sys.executable, "-c", SCHEDULER, str(children), MARK]}
    )
    monkeypatch.setattr(embedded, "STOP_S", 2.0)
    (place.folder / "logs").mkdir(parents=True)
    yield lambda: _start(place, children)
    for pid in _pids(place, children):  # where the test failed
        if psutil.pid_exists(pid):
            os.kill(pid, signal.SIGKILL)


def _start(place: Embedded, children: Path) -> list[psutil.Process]:
    embedded._start(place, "airflow-scheduler")
    deadline = time.monotonic() + 120
    while not children.exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [psutil.Process(pid) for pid in _pids(place, children)]


def _pids(place: Embedded, children: Path) -> list[int]:
    records = processes.records(place).values()
    return [*(int(one["pid"]) for one in records), *map(int, children.read_text().split() if children.exists() else [])]


def _lives(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """Somebody's own scheduler, with the same words on its command line."""
    unmarked = {name: value for name, value in os.environ.items() if name != MARK}
    with subprocess.Popen([sys.executable, *SLEEPER], env=unmarked, start_new_session=True) as child:
        yield psutil.Process(child.pid)
        child.kill()


def test_where_nothing_was_started_there_is_nothing_to_end(environment: Settings) -> None:
    assert embedded.down() == []
    assert not (environment.home / "embedded").exists(), "looking must not make an installation"


def test_all_that_was_started_is_ended_and_nothing_else(
    started: Callable[[], list[psutil.Process]], stranger: psutil.Process
) -> None:
    ours = started()
    assert embedded.down() == ["airflow-scheduler"]
    assert [_lives(one) for one in ours] == [False, False, False]
    assert _lives(stranger)
    assert embedded.down() == [], "a second time there is nothing left to end"


@pytest.mark.faults
def test_a_scheduler_that_was_killed_leaves_no_orphans_behind(
    started: Callable[[], list[psutil.Process]], stranger: psutil.Process
) -> None:
    scheduler, worker, trainer = started()
    scheduler.kill()
    scheduler.wait(120)
    assert _lives(worker)
    assert _lives(trainer)
    assert embedded.down() == []
    assert not _lives(worker)
    assert not _lives(trainer)
    assert _lives(stranger)


def test_a_process_that_got_an_old_number_is_not_ended(environment: Settings, stranger: psutil.Process) -> None:
    place = installation()
    record = {"pid": stranger.pid, "created": stranger.create_time() - 100}
    files.write_json(place.folder / "processes.json", {"airflow-scheduler": record})
    assert embedded.down() == []
    assert _lives(stranger)
    assert not (place.folder / "processes.json").exists()


def test_the_installation_of_another_home_is_left_alone(
    started: Callable[[], list[psutil.Process]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    others = started()
    monkeypatch.setenv("EVERTUNE_HOME", str(tmp_path / "second"))
    installation()
    assert embedded.down() == []
    assert [_lives(one) for one in others] == [True, True, True]
