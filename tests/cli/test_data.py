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
