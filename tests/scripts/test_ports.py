"""Which ports the embedded installation takes."""

from __future__ import annotations

import sys

import pytest

from evertune.settings import Settings
from scripts import embedded, ports


@pytest.mark.parametrize("name", ports.USUAL)
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
