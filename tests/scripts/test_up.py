"""What `make up` prepares and starts, and that it ends well only where all of that runs."""

from __future__ import annotations

import multiprocessing
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripts.installation import Embedded, installation

from evertune import files
from evertune.records import EvertuneError
from evertune.settings import Settings
from scripts import embedded, health, ports, processes

pytestmark = pytest.mark.filterwarnings("ignore:subprocess .* is still running:ResourceWarning")  # it outlives `up`

SERVER = """
import http.server, json, sys, time
class Healthy(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(dict.fromkeys(["scheduler", "dag_processor"], {"status": "healthy"})).encode())
time.sleep(float(sys.argv[2]))
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Healthy).serve_forever()
"""
"""Says of everything that it is well, after the seconds that a real one takes until it listens."""
SLEEPER = "import time; time.sleep(300)"


class Clone:
    """A home of its own, with components that only look like real ones."""

    def __init__(self, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self._monkeypatch = home, monkeypatch
        self.slow_s = 0.0

    def commands(self, place: Embedded) -> dict[str, list[str]]:
        servers = {
            name: [sys.executable, "-c", SERVER, str(port), str(self.slow_s)]
            for name, port in place.listeners().items()
        }
        return {**servers, "airflow-scheduler": [sys.executable, "-c", SLEEPER]}

    def enter(self) -> None:
        """What is called from here on is called in this clone."""
        self._monkeypatch.setenv("EVERTUNE_HOME", str(self.home))
        self._monkeypatch.setattr(embedded, "_commands", self.commands)

    def up(self) -> Embedded:
        self.enter()
        return embedded.up()

    def down(self) -> None:
        self.enter()
        embedded.down()

    def take_ports_of(self, other: Embedded) -> None:
        """As if this clone had been up, while the other was not, before."""
        self.enter()
        values = {name: getattr(other, name) for name in ports.USUAL}
        path = installation().folder / "installation.json"
        files.write_json(path, {**files.read_json(path), **values})


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Clone, Clone]]:
    """Two of them, whose processes are ended when the test is."""

    def prepare(place: Embedded) -> None:
        (place.folder / "logs").mkdir(parents=True, exist_ok=True)

    monkeypatch.setattr(embedded, "_prepare", prepare)
    for name in ports.USUAL:
        monkeypatch.delenv(name.upper(), raising=False)
    both = Clone(tmp_path / "a", monkeypatch), Clone(tmp_path / "b", monkeypatch)
    yield both
    for one in both:
        one.down()


def _alive(place: Embedded) -> list[str]:
    return [name for name, recorded in processes.records(place).items() if processes.alive(recorded)]


def _end(place: Embedded, name: str) -> None:
    ended = processes.alive(processes.records(place)[name])
    assert ended is not None
    processes.end([ended])


def test_two_clones_run_side_by_side_though_they_had_the_same_ports(
    clones: tuple[Clone, Clone], capsys: pytest.CaptureFixture[str]
) -> None:
    first, second = clones
    one = first.up()
    second.take_ports_of(one)
    other = second.up()
    assert not set(one.listeners().values()) & set(other.listeners().values())
    assert f"mlflow moves from port {one.mlflow_port} to {other.mlflow_port}." in capsys.readouterr().err
    assert [len(_alive(place)) for place in (one, other)] == [5, 5]
    assert second.up() == other, "what runs stays where it is"
    assert first.up() == one
    second.down()
    assert second.up() == other, "and so it does when it is up again"


def test_what_is_started_where_interrupts_are_ignored_heeds_them(clones: tuple[Clone, Clone]) -> None:
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)  # as in the background of a script
    try:
        place = clones[0].up()
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
    interrupt = 1 << signal.SIGINT - 1
    for recorded in processes.records(place).values():
        started = processes.alive(recorded)
        assert started is not None
        told = Path(f"/proc/{started.pid}/status").read_text("utf-8")
        ignored = next(int(line.split()[1], 16) for line in told.splitlines() if line.startswith("SigIgn:"))
        assert not ignored & interrupt


def test_two_clones_that_are_first_started_at_the_same_moment_take_ports_of_their_own(
    clones: tuple[Clone, Clone],
) -> None:
    forks = multiprocessing.get_context("fork")
    moment = forks.Barrier(len(clones))

    def start(clone: Clone) -> None:
        clone.slow_s = 1.0  # as real ones, which listen only when both have chosen
        moment.wait()
        clone.up()

    starting = [forks.Process(target=start, args=(clone,)) for clone in clones]
    for one in starting:
        one.start()
    for one in starting:
        one.join()
    assert [one.exitcode for one in starting] == [0, 0]
    taken: list[int] = []
    for clone in clones:
        clone.enter()
        place = installation()
        assert len(_alive(place)) == 5
        taken += place.listeners().values()
    assert len(set(taken)) == len(taken)


def test_it_is_not_up_while_another_answers_in_its_place(
    clones: tuple[Clone, Clone], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = clones
    one = first.up()
    second.take_ports_of(one)
    second.slow_s = 1.0
    monkeypatch.setattr(ports, "_fault", lambda _: "")  # all were free when it looked
    with pytest.raises(EvertuneError, match="ended while starting"):
        second.up()


def test_it_is_not_up_when_something_has_ended_though_all_that_is_asked_answers(clones: tuple[Clone, Clone]) -> None:
    place = clones[0].up()
    _end(place, "airflow-scheduler")
    with pytest.raises(
        EvertuneError, match=r"airflow-scheduler ended while starting. Its log: .*airflow-scheduler.log"
    ):
        health.await_all(place)


def test_a_port_that_a_person_said_and_another_has_starts_nothing(
    clones: tuple[Clone, Clone], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = clones
    taken = first.up().airflow_port
    second.enter()
    place = installation()
    monkeypatch.setenv("AIRFLOW_PORT", str(taken))
    with pytest.raises(EvertuneError, match=f"AIRFLOW_PORT is {taken}"):
        second.up()
    assert processes.records(place) == {}


def test_what_ended_alone_and_lost_its_port_is_not_moved_from_under_the_others(clones: tuple[Clone, Clone]) -> None:
    first, second = clones
    one, other = first.up(), second.up()
    _end(other, "mlflow")
    path = other.folder / "installation.json"
    files.write_json(path, {**files.read_json(path), "mlflow_port": one.mlflow_port})
    with pytest.raises(
        EvertuneError, match=f"mlflow has ended, and cannot start again on port {one.mlflow_port}: Addr"
    ):
        second.up()
    second.down()
    assert second.up().mlflow_port != one.mlflow_port


@pytest.mark.parametrize(("gpus", "slots"), [("0", "1"), ("1", "1"), ("3", "3")])
def test_a_training_is_let_in_also_where_it_is_to_run_on_the_cpu(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, gpus: str, slots: str
) -> None:
    called: list[list[str]] = []

    def note(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("EVERTUNE_GPUS", gpus)
    monkeypatch.setattr(subprocess, "run", note)
    embedded._prepare(installation())
    (pool,) = (command for command in called if "pools" in command)
    assert pool[-4:-1] == ["set", "gpu", slots]
