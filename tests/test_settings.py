"""Settings come from the environment, and show no password."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from evertune.records import EvertuneError
from evertune.settings import Settings, load


def test_with_nothing_set_everything_lies_below_the_home(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load({"EVERTUNE_HOME": "/somewhere"})
    for value in (settings.database_url, settings.mlflow_uri, settings.mlflow_artifacts, settings.remote):
        assert "/somewhere" in value


def test_every_setting_has_a_variable() -> None:
    numbers = {"gpus", "lease_s"}
    values = {name: "7" if name in numbers else f"/x/{name}" for name in Settings.model_fields}
    loaded = load({f"EVERTUNE_{name.upper()}": value for name, value in values.items()})
    assert {name: str(getattr(loaded, name)) for name in values} == values


def test_a_variable_that_is_set_to_nothing_is_not_set() -> None:
    numbers = {"gpus", "lease_s"}
    empty = {f"EVERTUNE_{name.upper()}": "" for name in Settings.model_fields if name not in numbers}
    assert load(empty) == load({})


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("postgresql+psycopg2://me:s3cret@db/evertune", "postgresql+psycopg2://me:***@db/evertune"),
        ("postgresql://me:s3/cr@et@db/evertune", "postgresql://me:***@db/evertune"),
        ("postgresql://db/x?user=me&password=s3cret&sslmode=on", "postgresql://db/x?user=me&password=***&sslmode=on"),
        ("postgresql://db/x?sslmode=on&sslpassword=s3cret", "postgresql://db/x?sslmode=on&sslpassword=***"),
        ("https://x.org/hook?Access_Token=s3cret#a", "https://x.org/hook?Access_Token=***#a"),
        ("https://x.org/hook?v=1&sig=s%33cret", "https://x.org/hook?v=1&sig=***"),
        ("http://127.0.0.1:5000", "http://127.0.0.1:5000"),
        ("hf://a/b?config=c&split=train&revision=d", "hf://a/b?config=c&split=train&revision=d"),
        ("sqlite:////home/me/ledger.db", "sqlite:////home/me/ledger.db"),
    ],
)
def test_passwords_are_not_shown(given: str, shown: str) -> None:
    assert load({"EVERTUNE_DATABASE_URL": given}).public()["database_url"] == shown


@pytest.mark.parametrize(
    ("name", "value"),
    [("EVERTUNE_GPUS", "x"), ("EVERTUNE_GPUS", "-1"), ("EVERTUNE_GPUS", ""), ("EVERTUNE_LEASE_S", "0")],
)
def test_what_is_no_number_is_told_by_the_variables_name(name: str, value: str) -> None:
    with pytest.raises(EvertuneError, match=rf"{name} is '{value}': expected a whole number"):
        load({name: value})


@pytest.mark.parametrize(("home", "odd"), [("/h/a?b", "'?'"), ("/h/a%20b", "'%'"), ("/h/c#", "'#'")])
def test_a_home_whose_name_no_address_can_hold_is_refused(home: str, odd: str) -> None:
    with pytest.raises(EvertuneError, match=rf"EVERTUNE_HOME is .*{re.escape(odd)} would be taken"):
        load({"EVERTUNE_HOME": home})
    load({"EVERTUNE_HOME": "/h/mit Leerzeichen und Ümläuten & mehr"})


LIBRARIES = ("HF_HOME", "HF_TOKEN_PATH", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "ORT_DISABLE_TELEMETRY")


@pytest.fixture
def untold(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> pytest.MonkeyPatch:
    """An environment in which no library is told anything; what is set in it is taken back."""
    monkeypatch.setenv("EVERTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("HOME", str(tmp_path / "person"))
    for name in (*LIBRARIES, "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, "")  # so that it is put back as it was
        monkeypatch.delenv(name)
    return monkeypatch


def test_libraries_are_told_to_keep_their_files_below_the_home(untold: pytest.MonkeyPatch, tmp_path: Path) -> None:
    load()
    for name in ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR"):
        assert Path(os.environ[name]).is_relative_to(tmp_path / "home" / "cache"), name
    assert os.environ["ORT_DISABLE_TELEMETRY"] == "1"
    assert os.environ["HF_TOKEN_PATH"] == str(tmp_path / "person" / ".cache" / "huggingface" / "token")
    assert not (tmp_path / "home").exists()


def test_what_a_person_has_told_them_stays(untold: pytest.MonkeyPatch) -> None:
    own = {"HF_HOME": "/hf", "MPLCONFIGDIR": "/mpl", "TORCHINDUCTOR_CACHE_DIR": "/torch", "ORT_DISABLE_TELEMETRY": "0"}
    for name, value in own.items():
        untold.setenv(name, value)
    load()
    assert {name: os.environ[name] for name in own} == own
    assert "HF_TOKEN_PATH" not in os.environ  # it lies in that home


def test_settings_of_another_environment_change_nothing_here(untold: pytest.MonkeyPatch) -> None:
    load({"EVERTUNE_HOME": "/somewhere"})
    assert not set(LIBRARIES) & set(os.environ)
