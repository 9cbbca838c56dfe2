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


def test_where_there_is_no_file_it_says_how_to_make_one(folder: Path) -> None:
    result = validate()
    assert result.exit_code == 0
    assert "none sound, no faults. There are none in" in result.stdout
    assert "`evertune init NAME`" in result.stdout


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


def test_values_that_expectations_cannot_take_are_found_before_a_run(folder: Path) -> None:
    named = """\
validation:
  max_characters: 5
  expectations:
    - name: expect_column_values_to_be_in_set
      arguments: {column: label, value_set: 3}
    - name: expect_column_values_to_match_regex
      arguments:
        column: txt
        regex: "["
        mostly: 7
"""
    (folder / "a.yaml").write_text(GOOD + named)
    (folder / "b.yaml").write_text(
        GOOD.replace("tickets\n", "b\n") + named.replace("3}", "[a]}").replace("mostly", "#")
    )
    result = validate()
    assert result.exit_code == 2
    told = [line.partition("; found")[0].removesuffix(" position 0)") for line in result.stdout.splitlines()]
    where, regex = (
        "validation.expectations",
        "expected a regular expression ('[' is none: unterminated character set at",
    )
    assert told == [
        "a.yaml:8:19: validation.max_characters: expected at least 10",
        f"a.yaml:11:45: {where}[0].arguments.value_set: expected a list",
        f"a.yaml:14:17: {where}[1].arguments.column: expected a column of the snapshot",
        f"a.yaml:15:16: {where}[1].arguments.regex: {regex}",
        f"a.yaml:16:17: {where}[1].arguments.mostly: expected at most 1",
        *[line.replace("a.yaml", "b.yaml") for line in (told[0], told[2], told[3])],
        "Project files: none sound, 8 faults in 2 files.",
    ]


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
