from __future__ import annotations

import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evertune.serving.log.retention import kept_since, prune

NOW = datetime(2026, 11, 22, 18, 30, tzinfo=UTC)


def _pruned(traffic: Path, days_of: Callable[[str], int | None]) -> list[Path]:
    return prune(traffic, NOW, kept_since(traffic, NOW, days_of))


def hour(traffic: Path, name: str, project: str = "spam") -> Path:
    folder = traffic / "parquet" / project / name
    folder.mkdir(parents=True)
    (folder / "0000000000000001.answers.parquet").write_bytes(b"x")
    return folder


def test_whole_hours_go_when_all_of_them_is_old(tmp_path: Path) -> None:
    gone = [hour(tmp_path, "2026-11-15/16"), hour(tmp_path, "2026-11-14/23"), hour(tmp_path, "2026-11-15/17", "ham")]
    stays = [hour(tmp_path, "2026-11-15/18"), hour(tmp_path, "2026-11-22/18", "ham")]
    assert sorted(_pruned(tmp_path, lambda _: 7)) == sorted(gone)
    assert [folder.exists() for folder in gone] == [False] * 3
    assert [folder.exists() for folder in stays] == [True] * 2
    assert not gone[1].parent.exists(), "a day without hours goes too"
    assert stays[0].parent.exists()
    assert _pruned(tmp_path, lambda _: 7) == []


def test_each_project_has_its_own_time(tmp_path: Path) -> None:
    spam, ham = hour(tmp_path, "2026-11-15/16"), hour(tmp_path, "2026-11-15/16", "ham")
    node = tmp_path / "vm-c0ffee"
    node.mkdir()
    (node / "x.damaged").touch()
    moment = (NOW - timedelta(days=8)).timestamp()
    os.utime(node / "x.damaged", (moment, moment))
    assert _pruned(tmp_path, {"spam": 7, "ham": 30}.__getitem__) == [spam, node / "x.damaged"]
    assert ham.exists()


def test_nothing_else_goes(tmp_path: Path) -> None:
    odd = tmp_path / "parquet" / "spam" / "notes" / "of Ann"
    odd.mkdir(parents=True)
    assert _pruned(tmp_path, lambda _: 1) == []
    assert _pruned(tmp_path / "nowhere", lambda _: 1) == []
    assert odd.exists()


def test_nothing_goes_of_a_project_whose_time_is_not_known_yet(tmp_path: Path) -> None:
    stays = hour(tmp_path, "2020-01-01/00")
    assert _pruned(tmp_path, lambda _: None) == []
    assert stays.exists()


def test_damaged_segments_go_as_old(tmp_path: Path) -> None:
    hour(tmp_path, "2026-11-22/18")
    node = tmp_path / "vm-c0ffee"
    node.mkdir()
    for name, age in (("old", 8), ("young", 6)):
        (node / f"{name}.damaged").touch()
        moment = (NOW - timedelta(days=age)).timestamp()
        os.utime(node / f"{name}.damaged", (moment, moment))
    assert _pruned(tmp_path, lambda _: 7) == [node / "old.damaged"]
    assert [path.name for path in node.iterdir()] == ["young.damaged"]


def test_since_when_each_project_is_kept(tmp_path: Path) -> None:
    for slug in ("spam", "ham", "new"):
        hour(tmp_path, "2026-11-22/18", slug)
    days = {"spam": 7, "ham": 30, "new": None}
    assert kept_since(tmp_path, NOW, days.__getitem__) == {
        "spam": NOW - timedelta(days=7), "ham": NOW - timedelta(days=30)
    }  # fmt: skip
    assert kept_since(tmp_path / "nowhere", NOW, days.__getitem__) == {}
