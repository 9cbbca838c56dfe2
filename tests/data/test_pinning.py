"""What a person has is kept: their files are told and not replaced, their own configuration stays."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml

from evertune.data import dvc, pinning, versions
from evertune.data.versions import PIPELINE
from evertune.project import Project
from evertune.records import UnfitError
from evertune.settings import Settings

SLUG = "shop-reviews"
OWN = {
    "dvc.yaml": ["stages:\n  train:\n    cmd: make train\n", "stages: [", "", "plots: []\n"],
    "params.yaml": ["lr: 0.1\n", f"projects:\n  - {SLUG}\n  - mine\n", f"{pinning.HEADER}projects:\n  - a\nlr: 0.1\n"],
    f"plans/{SLUG}/snapshot.json": ["{}", "[1]", "no JSON"],
    f"plans/{SLUG}/project.json": ['{"slug": "another"}'],
    f"plans/{SLUG}/pins.json": ['{"sources": {}}'],
}


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("name", "text"), [(name, text) for name, texts in OWN.items() for text in texts])
def test_a_file_of_somebody_else_is_told_and_nothing_is_written(
    local_project: Project, where: Settings, tmp_path: Path, name: str, text: str
) -> None:
    (path := tmp_path / "clone" / name).parent.mkdir(parents=True)
    path.write_text(text)
    with pytest.raises(UnfitError, match=rf"{name}, not written by .*Pin in another folder.*Nothing was written"):
        versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})
    assert contents(tmp_path / "clone") == {name: text.encode()}
    assert not Path(where.remote).exists()


def test_stages_that_a_person_has_added_are_not_lost(local_project: Project, where: Settings, tmp_path: Path) -> None:
    versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})
    stages = yaml.safe_load(PIPELINE.read_text())["stages"]
    header = PIPELINE.read_text().partition("stages:")[0]
    for more in ({"cmd": "make report"}, "no stage"):
        (tmp_path / "clone" / "dvc.yaml").write_text(header + yaml.safe_dump({"stages": {**stages, "prepare": more}}))
        with pytest.raises(UnfitError, match=r"clone has dvc\.yaml, not written"):
            versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})


def test_what_was_pinned_before_is_written_anew(local_project: Project, where: Settings, tmp_path: Path) -> None:
    root = tmp_path / "clone"
    versions.pin_all(where, root, {SLUG: local_project})
    before = contents(root)
    # As earlier versions wrote it: without a header, and with fewer comments in the stages.
    (root / "params.yaml").write_text(f"projects:\n  - {SLUG}\n")
    (root / "dvc.yaml").write_text(yaml.safe_dump(yaml.safe_load(PIPELINE.read_text())))
    (root / "plans" / SLUG / "snapshot.json").write_text('{"recipe":0,"step":"snapshot"}')
    versions.pin_all(where, root, {SLUG: local_project})
    assert contents(root) == before


def test_a_person_keeps_their_configuration_of_dvc(local_project: Project, where: Settings, tmp_path: Path) -> None:
    (root := tmp_path / "clone" / ".dvc").mkdir(parents=True)
    theirs = "# mine\n[core]\n    remote = mine\n    no_scm = true\n\n['remote \"mine\"']\n    url = s3://bucket\n"
    (root / "config.local").write_text(theirs)
    (root / ".gitignore").write_text("/mine\n/tmp\n")
    (tmp_path / "clone" / ".git").mkdir()
    versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})
    written = (root / "config.local").read_text()
    assert [line for line in theirs.splitlines() if line not in written.splitlines()] == ["    no_scm = true"]
    assert "    no_scm = false\n" in written
    assert written.count("remote = ") == 1
    assert f'[cache]\n    dir = "{where.cache / "dvc"}"\n' in written
    assert f'[\'remote "storage"\']\n    url = "{where.remote}"\n' in written
    assert (root / ".gitignore").read_text() == "/mine\n/tmp\n/config.local\n/cache\n"
    versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})
    assert (root / "config.local").read_text() == written


def test_another_home_is_taken_over_into_what_is_there(where: Settings) -> None:
    moved = where.model_copy(update={"home": where.home / "moved", "remote": "s3://bucket"})
    assert pinning.merged(dvc.config(where), dvc.options(moved)) == dvc.config(moved)


def test_the_list_of_projects_names_its_writer(local_project: Project, where: Settings, tmp_path: Path) -> None:
    versions.pin_all(where, tmp_path / "clone", {SLUG: local_project})
    text = (tmp_path / "clone" / "params.yaml").read_text()
    assert text == f"{pinning.HEADER}projects:\n  - {SLUG}\n"
    assert yaml.safe_load(text) == {"projects": [SLUG]}
    assert json.loads((tmp_path / "clone" / "plans" / SLUG / "project.json").read_text())["slug"] == SLUG
