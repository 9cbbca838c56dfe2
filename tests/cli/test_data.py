"""`evertune data pin` writes what a person needs for plain `dvc repro`; `checkout` is tested with a whole pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests import quick
from tests.quick import SLUG, evertune

from evertune.settings import Settings, load


@pytest.fixture
def two(tmp_path: Path) -> Settings:
    """Two projects in the folder of projects."""
    where = load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_PROJECTS": str(tmp_path / "projects")})
    where.projects.mkdir()
    quick.write(where)
    quick.write(where, slug="other")
    return where


@pytest.mark.parametrize(("asked", "pinned"), [(SLUG, {SLUG}), ("--all", {SLUG, "other"})])
def test_what_is_asked_for_is_pinned_where_the_person_stands(
    two: Settings, tmp_path: Path, asked: str, pinned: set[str]
) -> None:
    (here := tmp_path / "clone").mkdir()
    status, told = evertune(two, "data", "pin", asked, cwd=here)
    assert status == 0, told
    assert {Path(path).parent.name for path in told["written"] if path.endswith("pins.json")} == pinned
    assert {path.parent.name for path in here.glob("plans/*/pins.json")} == pinned
    pins = json.loads((here / "plans" / SLUG / "pins.json").read_text())
    assert set(pins["sources"]) == {str(tmp_path / "rows.csv")}
    assert (here / "dvc.yaml").is_file()


def test_it_wants_to_know_which(two: Settings, tmp_path: Path) -> None:
    for asked in ((), (SLUG, "--all")):
        status, told = evertune(two, "data", "pin", *asked, cwd=tmp_path)
        assert (status, told["error"]["message"]) == (1, "Say which project, or --all.")
    assert not (tmp_path / "plans").exists()


def test_files_with_faults_are_told_and_left_out(two: Settings, tmp_path: Path) -> None:
    (two.projects / "other.yaml").write_text("slug: [")
    (here := tmp_path / "clone").mkdir()
    status, told = evertune(two, "data", "pin", "--all", cwd=here)
    assert status == 2
    assert {path.parent.name for path in here.glob("plans/*/pins.json")} == {SLUG}
    assert [fault.partition(": ")[0] for fault in told["faults"]] == [f"{two.projects / 'other.yaml'}:1:8"]


def test_where_there_is_nothing_to_pin_nothing_is_written(two: Settings, tmp_path: Path) -> None:
    (here := tmp_path / "clone").mkdir()
    for path in two.projects.iterdir():
        path.write_text("slug: [")
    status, told = evertune(two, "data", "pin", "--all", cwd=here)
    assert status == 2
    assert "other.yaml:1:8: expected YAML" in told["error"]["message"]
    for path in two.projects.iterdir():
        path.unlink()
    status, told = evertune(two, "data", "pin", "--all", cwd=here)
    assert status == 2
    assert "`evertune init NAME`" in told["error"]["message"]
    assert not list(here.iterdir())


def test_a_persons_own_stages_are_not_replaced(two: Settings, tmp_path: Path) -> None:
    (here := tmp_path / "clone").mkdir()
    (here / "dvc.yaml").write_text("stages: {train: {cmd: make train}}\n")
    (here / "params.yaml").write_text("lr: 0.1\n")
    status, told = evertune(two, "data", "pin", SLUG, cwd=here)
    assert status == 2
    assert f"{here} has dvc.yaml, params.yaml, not written by `evertune data pin`" in told["error"]["message"]
    assert sorted(path.name for path in here.iterdir()) == ["dvc.yaml", "params.yaml"]
