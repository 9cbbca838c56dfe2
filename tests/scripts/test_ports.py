"""Which ports the embedded installation takes."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

import pytest
from tests.support import held_port

from evertune.records import EvertuneError
from evertune.settings import Settings
from scripts import embedded, ports

NAMES = tuple(ports.USUAL)


@pytest.fixture(autouse=True)
def silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """The environment says no ports."""
    for name in NAMES:
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


@pytest.fixture
def free() -> Iterator[int]:
    """A port that nobody listens on, and nobody else will while the test runs."""
    with held_port() as port:
        yield port


def test_a_port_from_before_is_kept_while_it_is_free(free: int) -> None:
    assert ports.choose(["airflow_port"], {"airflow_port": free}) == {"airflow_port": free}


def test_a_port_that_is_taken_is_left_to_whoever_has_it(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert ports.choose(["airflow_port"], {"airflow_port": taken})["airflow_port"] != taken
    monkeypatch.setitem(ports.USUAL, "airflow_port", taken)
    assert ports.choose(["airflow_port"], {})["airflow_port"] != taken


def test_no_two_servers_get_one_port(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.setitem(ports.USUAL, name, free)
    assert len(set(ports.choose(NAMES, {}).values())) == len(NAMES)
    assert len(set(ports.choose(NAMES, dict.fromkeys(NAMES, free)).values())) == len(NAMES)
    assert ports.choose(["mlflow_port"], {"airflow_port": free})["mlflow_port"] != free
    monkeypatch.setenv("EVIDENTLY_PORT", str(free))
    assert ports.choose(NAMES, {"airflow_port": free})["airflow_port"] != free


def test_what_the_environment_says_counts_more_than_what_was_before(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", str(free))
    assert ports.choose(["airflow_port"], {"airflow_port": 1}) == {"airflow_port": free}


def test_a_port_that_a_person_said_is_never_another(taken: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_PORT", str(taken))
    with pytest.raises(EvertuneError, match=f"MLFLOW_PORT is {taken}, .* in use. End what holds it, set MLFLOW_PORT"):
        ports.choose(NAMES, {})


def test_a_port_said_for_what_runs_on_another_is_refused(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    ports.check("mlflow", free, runs=True)
    monkeypatch.setenv("MLFLOW_PORT", str(free))
    ports.check("mlflow", free, runs=True)
    with pytest.raises(EvertuneError, match=f"MLFLOW_PORT is {free}, and mlflow runs on port 5000. `make down`"):
        ports.check("mlflow", 5000, runs=True)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("text", ["abc", "80000", "0", "-1", "80.5", "8_0", "999999"])
def test_a_variable_that_says_no_port_ends_in_one_sentence(
    environment: Settings,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
) -> None:
    monkeypatch.setenv(name.upper(), text)
    monkeypatch.setattr(sys, "argv", ["embedded", "up"])
    assert embedded.main() == 2
    (told,) = capsys.readouterr().err.splitlines()
    assert told.startswith(f"{name.upper()} is {text!r}: expected a port, a whole number from 1 to 65535.")
    assert not (environment.home / "embedded" / "installation.json").exists()


@pytest.mark.parametrize("text", ["", " "])
def test_a_variable_that_is_empty_says_nothing(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("AIRFLOW_PORT", text)
    assert ports.said("airflow_port") is None


def test_one_port_for_two_servers_is_refused(free: int, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AIRFLOW_PORT", "MLFLOW_PORT"):
        monkeypatch.setenv(name, str(free))
    with pytest.raises(EvertuneError, match=f"AIRFLOW_PORT and MLFLOW_PORT are both {free}"):
        ports.choose(NAMES, {})
