from __future__ import annotations

import json
import threading
from pathlib import Path

import pytest
from tests.monitoring.made_samples import window

from evertune import files
from evertune.monitoring import report, workspace


def made(folder: Path, text: str = '{"name": "window 1"}') -> Path:
    with files.new_folder(folder) as aside:
        files.write_text(aside / report.SNAPSHOT, text)
    return folder


def test_a_window_is_added_once_however_often_and_by_whom(tmp_path: Path) -> None:
    given = made(tmp_path / "r")
    together = [threading.Thread(target=workspace.add, args=(tmp_path / "w", window(5), given)) for _ in range(8)]
    for thread in together:
        thread.start()
    for thread in together:
        thread.join()
    path = workspace.add(tmp_path / "w", window(5), given)

    project = tmp_path / "w" / workspace.project_id("reviews")
    assert sorted(one.relative_to(project).as_posix() for one in project.rglob("*") if one.is_file()) == [
        "dashboard.json",
        "metadata.json",
        f"snapshots/{workspace.snapshot_id('reviews', 1)}.json",
    ]
    assert path == f"/projects/{workspace.project_id('reviews')}/reports/{workspace.snapshot_id('reviews', 1)}"
    assert json.loads((project / "metadata.json").read_text("utf-8"))["name"] == "reviews"


def test_the_report_of_a_window_that_was_tested_again_is_the_one_that_is_shown(tmp_path: Path) -> None:
    workspace.add(tmp_path / "w", window(5), made(tmp_path / "first", '{"name": "an alert"}'))
    workspace.add(tmp_path / "w", window(5), made(tmp_path / "again", '{"name": "no alert"}'))
    (shown,) = (tmp_path / "w").rglob("snapshots/*.json")
    assert json.loads(shown.read_text("utf-8")) == {"name": "no alert"}


def test_what_a_person_changed_in_the_interface_stays(tmp_path: Path) -> None:
    given = made(tmp_path / "r")
    workspace.add(tmp_path / "w", window(5), given)
    dashboard = tmp_path / "w" / workspace.project_id("reviews") / "dashboard.json"
    dashboard.write_text('{"tabs": [], "panels": []}')
    workspace.add(tmp_path / "w", window(5, number=2), given)
    assert dashboard.read_text() == '{"tabs": [], "panels": []}'


def test_the_newest_windows_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workspace, "KEPT", 3)
    given = made(tmp_path / "r")
    for number in range(1, 8):
        workspace.add(tmp_path / "w", window(5, number=number), given)
    there = {one.stem for one in (tmp_path / "w").rglob("snapshots/*.json")}
    assert there == {workspace.snapshot_id("reviews", number) for number in (5, 6, 7)}


def test_a_torn_report_is_not_added(tmp_path: Path) -> None:
    given = made(tmp_path / "r")
    (given / report.SNAPSHOT).write_text("{")
    with pytest.raises(files.CorruptError):
        workspace.add(tmp_path / "w", window(5), given)
    assert not list((tmp_path / "w").rglob("snapshots/*.json"))


def test_ids_are_of_the_project_and_the_window() -> None:
    ids = {workspace.snapshot_id(slug, number) for slug in ("a", "b") for number in (1, 2)}
    assert len(ids) == 4
    assert workspace.snapshot_id("a", 1) == workspace.snapshot_id("a", 1)
