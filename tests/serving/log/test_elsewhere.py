"""What other processes of a home keep comes to light once, and old files are not opened to find that out."""

from __future__ import annotations

import asyncio
import os
import time
from datetime import timedelta
from pathlib import Path

import pytest
from tests.serving.log.made import NOW, answer, feedback, fill

from evertune.serving.log import TrafficLog, reading
from evertune.serving.log.elsewhere import SLACK_S, Elsewhere

LONG_AGO = NOW - timedelta(days=1)


def _others(home: Path, about: str, truth: str, project: str = "spam") -> None:
    fill(home, [feedback(about, project, truth=truth)])


def test_what_others_keep_is_given_once_and_ones_own_never(tmp_path: Path) -> None:
    async def check() -> None:
        log = TrafficLog(tmp_path)
        first, second = [(await log.append([answer(number)]))[0] for number in range(2)]
        await asyncio.to_thread(_others, tmp_path, first, "before")
        one = log.elsewhere("spam")
        assert one.look(LONG_AGO) == []
        await asyncio.to_thread(_others, tmp_path, first, "a")
        await asyncio.to_thread(_others, tmp_path, second, "b")
        await asyncio.to_thread(_others, tmp_path, second, "c", "ham")
        await log.append([feedback(first, truth="own")])
        await log.close()
        assert [row.feedback.truth for row in one.look(LONG_AGO)] == ["a", "b"]
        assert one.look(LONG_AGO) == []
        await asyncio.to_thread(_others, tmp_path, first, "d")
        assert one.look(NOW + timedelta(seconds=1)) == [], "given before"

    asyncio.run(check())


def test_odd_files_are_passed_over(tmp_path: Path) -> None:
    (first,) = fill(tmp_path, [answer()])
    one = Elsewhere(tmp_path / "traffic", "spam", 0)
    (hour,) = (folder for _, folder in reading.hours(tmp_path / "traffic" / "parquet" / "spam"))
    for name in ("notes.txt", ".0000000000000001.feedback.parquet.part", "zz.feedback.parquet"):
        (hour / name).write_text("x")
    (hour / f"{1:016x}.feedback.parquet").write_text("torn")
    _others(tmp_path, first, "a")
    assert [row.feedback.truth for row in one.look(LONG_AGO)] == ["a"]
    assert Elsewhere(tmp_path / "nowhere", "spam", 0).look(LONG_AGO) == []


def test_hours_in_which_nothing_has_changed_are_not_looked_into(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (first,) = fill(tmp_path, [answer()])
    _others(tmp_path, first, "a")
    one = Elsewhere(tmp_path / "traffic", "spam", 0)
    one._seen.clear()
    for _, hour in reading.hours(tmp_path / "traffic" / "parquet" / "spam"):
        old = time.time() - SLACK_S - 60
        os.utime(hour, (old, old))
    assert one.look(LONG_AGO) == []
