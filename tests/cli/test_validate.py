from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from evertune.cli.main import app
from evertune.settings import Settings

GOOD = """\
schema_version: 1
slug: tickets
owner: team@example.org
data:
  sources: [{uri: tickets.csv}]
  columns: {text: body, label: queue}
"""


@pytest.fixture
def folder(where: Settings, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("EVERTUNE_PROJECTS", str(where.projects))
    where.projects.mkdir()
    monkeypatch.chdir(where.projects)
    return where.projects


def validate(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["validate", *arguments])


def parsed(result: Result) -> Any:
    return json.loads(result.stdout)


def test_sound_files_end_with_status_0(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    result = validate()
    assert result.exit_code == 0
    assert "1 sound (tickets), no faults" in result.stdout


def test_all_faults_of_all_files_are_told_and_end_with_status_2(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text(
        GOOD.replace("tickets\n", "b\n").replace("owner:", "ownr:") + "tuning: {epochs: 0}\n"
    )
    (folder / "c.yaml").write_text("slug: [")
    result = validate()
    assert result.exit_code == 2
    lines = result.stdout.splitlines()
    assert lines[0].startswith("b.yaml:3:1: ownr: expected ")
    assert lines[0].endswith("did you mean 'owner'?")
    assert lines[1].startswith("b.yaml:7:18: tuning.epochs: expected at least 1; found 0")
    assert lines[2].startswith("c.yaml:1:8: expected YAML")
    assert lines[3] == "Project files: 1 sound (tickets), 3 faults in 2 files."


def test_json_is_one_object(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "b.yaml").write_text("")
    result = validate("--json")
    assert result.exit_code == 2
    found = parsed(result)
    assert (found["valid"], found["projects"]) == (False, ["tickets"])
    (fault,) = found["faults"]
    assert set(fault) == {"file", "line", "column", "where", "message", "hint"}
    assert fault["file"] == str(folder / "b.yaml")


def test_files_are_named_by_slug_or_path_and_each_is_checked_once(folder: Path, tmp_path: Path) -> None:
    (folder / "a.yaml").write_text(GOOD)
    (folder / "bad.yaml").write_text("")
    elsewhere = tmp_path / "x.yaml"
    elsewhere.write_text(GOOD.replace("tickets\n", "x\n"))
    assert parsed(validate("--json", "tickets", "a.yaml", str(elsewhere)))["projects"] == ["tickets", "x"]
    assert validate("bad").exit_code == 2


def test_a_name_without_a_file_does_not_keep_others_from_being_checked(folder: Path) -> None:
    (folder / "a.yaml").write_text(GOOD + "tuning: {epochs: 0}\n")
    result = validate("nope", "tickets", "other.yaml")
    assert result.exit_code == 2
    assert "no project 'nope'" in result.stdout
    assert "no project file other.yaml" in result.stdout
    assert "tuning.epochs" in result.stdout


def test_two_projects_of_one_name_are_found(folder: Path) -> None:
    for name in ("a.yaml", "b.yaml"):
        (folder / name).write_text(GOOD)
    for arguments in ([], ["tickets"], ["a.yaml", "b.yaml"]):
        result = validate(*arguments)
        assert result.exit_code == 2
        assert result.stdout.count("expected a slug that no other project has") == 2


def test_the_shipped_projects_are_sound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTUNE_PROJECTS", str(Path(__file__).parents[2] / "projects"))
    assert validate().exit_code == 0
