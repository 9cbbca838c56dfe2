from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.records import UnfitError
from evertune.settings import Settings


@pytest.fixture(autouse=True)
def folder(where: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERTUNE_PROJECTS", str(where.projects))
    return where.projects


def test_a_new_file_passes_validate(folder: Path) -> None:
    result = CliRunner().invoke(app, ["init", "tickets"])
    assert result.exit_code == 0
    assert str(folder / "tickets.yaml") in result.stdout
    assert CliRunner().invoke(app, ["validate"]).exit_code == 0


def test_json_is_one_object(folder: Path) -> None:
    result = CliRunner().invoke(app, ["init", "tickets", "--json"])
    assert json.loads(result.stdout) == {"project": "tickets", "file": str(folder / "tickets.yaml")}


def test_a_bad_name_is_refused(folder: Path) -> None:
    result = CliRunner().invoke(app, ["init", "My Tickets"])
    assert isinstance(result.exception, UnfitError)
    assert "'my-tickets' would do" in str(result.exception)
    assert not folder.exists()
