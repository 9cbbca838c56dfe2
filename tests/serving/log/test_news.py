"""Each label is counted once, whatever clock has dated it and whenever it came into the log."""

from __future__ import annotations

import random
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.serving.log.made import NOW, answer, fill
from tests.serving.log.test_labels import keep, said

from evertune.serving.log import labels
from evertune.serving.log.ids import decode, hour_of
from evertune.serving.log.news import LATE, Counted, Marks, news


def after(minutes: float) -> datetime:
    return NOW + timedelta(minutes=minutes)


class Counts:
    """Who counts the labels up to one moment after another."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.before: Counted | None = None

    def until(self, minutes: float) -> dict[str, str]:
        found, marks = news(self.home / "traffic", "spam", self.before, after(minutes))
        self.before = Counted(after(minutes), marks)
        return {row.prediction_id: row.label for row in found}


def marks_of(counts: Counts) -> Marks:
    assert counts.before is not None
    return counts.before.marks or {}


def test_a_label_that_is_sent_again_is_no_news(tmp_path: Path) -> None:
    again, changed, overruled, thumbed, new = keep(tmp_path, *(answer(number) for number in range(5)))
    keep(tmp_path, said(again, "a"), said(changed, "a"), said(overruled, "a", origin="expert"))
    keep(tmp_path, said(thumbed, None, thumbs="up"))
    counts = Counts(tmp_path)
    assert counts.until(30) == {again: "a", changed: "a", overruled: "a"}
    later = [said(again, "a", 60), said(changed, "b", 60), said(overruled, "b", 60), said(thumbed, "a", 60)]
    keep(tmp_path, *later, said(new, "a", 60))
    assert counts.until(90) == {changed: "b", thumbed: "a", new: "a"}


def test_what_was_counted_long_ago_is_no_news_either(tmp_path: Path) -> None:
    (id_,) = keep(tmp_path, answer(1))
    keep(tmp_path, said(id_, "a"))
    counts, later = Counts(tmp_path), 2 * LATE / timedelta(minutes=1)
    assert counts.until(30) == {id_: "a"}
    assert counts.until(later) == {}
    keep(tmp_path, said(id_, "a", int(later) + 1))
    assert counts.until(later + 30) == {}


def test_without_marks_all_that_is_dated_before_is_counted(tmp_path: Path) -> None:
    first, second = keep(tmp_path, answer(1), answer(2))
    keep(tmp_path, said(first, "a", 1), said(second, "a", 31))
    found, _ = news(tmp_path / "traffic", "spam", Counted(after(30)), after(60))
    assert [row.prediction_id for row in found] == [second]


@pytest.mark.parametrize("drained", [True, False])
def test_a_label_that_came_after_those_of_its_time_were_counted_is_in_the_next_count(
    tmp_path: Path, drained: bool
) -> None:
    first, second = keep(tmp_path, answer(1), answer(2), drained=drained)
    keep(tmp_path, said(first, "a", 20), drained=drained)
    counts = Counts(tmp_path)
    assert counts.until(30) == {first: "a"}
    keep(tmp_path, said(second, "a", 10), drained=drained)
    assert counts.until(60) == {second: "a"}
    assert counts.until(90) == {}


def test_a_label_is_not_passed_over_for_an_older_one_behind_it(tmp_path: Path) -> None:
    """Requests that are answered at once reach the disk in another order than they were dated in."""
    first, second = keep(tmp_path, answer(1), answer(2))
    keep(tmp_path, said(first, "a", 31), said(second, "a", 29))
    counts = Counts(tmp_path)
    assert counts.until(30) == {second: "a"}
    assert counts.until(60) == {first: "a"}


def test_what_comes_while_the_log_is_read_is_in_the_next_count_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (id_,) = keep(tmp_path, answer(1))
    keep(tmp_path, said(id_, "a", 1))
    counts, then = Counts(tmp_path), labels.all_said

    def all_said(*arguments: Any) -> Any:
        keep(tmp_path, said(id_, "b", 2, origin="expert"))
        monkeypatch.undo()
        return then(*arguments)

    monkeypatch.setattr("evertune.serving.log.news.all_said", all_said)
    assert counts.until(30) == {id_: "a"}
    assert counts.until(60) == {id_: "b"}
    assert counts.until(90) == {}


def test_a_file_that_appears_before_another_of_its_segment_hides_nothing(tmp_path: Path) -> None:
    """A segment has a file for each hour of answers, and they are not written at once."""
    (old,) = fill(tmp_path, [answer(1)], clock=NOW.timestamp)
    (new,) = keep(tmp_path, answer(2))
    keep(tmp_path, said(new, "a", 1), said(old, "a", 2))
    place = decode(new)
    assert place is not None
    (path,) = (tmp_path / "traffic" / "parquet" / "spam" / hour_of(place.second)).glob("*.feedback.parquet")
    aside = path.rename(path.with_suffix(".aside"))
    counts = Counts(tmp_path)
    assert counts.until(30) == {old: "a"}
    aside.rename(path)
    assert counts.until(60) == {new: "a"}


def test_marks_do_not_grow_with_the_log(tmp_path: Path) -> None:
    ids = keep(tmp_path, answer(1), answer(2))
    keep(tmp_path, said(ids[0], "a"))
    keep(tmp_path, said(ids[1], "a", 60))
    counts = Counts(tmp_path)
    assert counts.until(30).keys() == {ids[0]}
    assert len(marks_of(counts)) == 1
    day = LATE / timedelta(minutes=1)
    assert counts.until(day + 30).keys() == {ids[1]}
    assert len(marks_of(counts)) == 1
    assert counts.until(2 * day) == {}
    assert marks_of(counts) == {}


@pytest.mark.parametrize("seed", range(5))
def test_whatever_the_clocks_say_each_label_is_counted_once(tmp_path: Path, seed: int) -> None:
    """Servers are up to twelve hours behind or ahead; the one who counts comes at any time."""
    chance = random.Random(seed)
    ids = keep(tmp_path, *(answer(number) for number in range(60)))
    counts, waiting = Counts(tmp_path), list(ids)
    found: list[str] = []
    for turn in range(12):
        here = [waiting.pop() for _ in range(min(len(waiting), chance.randint(0, 12)))]
        given = [said(id_, "a", 60 * turn + chance.randint(-720, 720)) for id_ in here]
        keep(tmp_path, *given, drained=chance.random() < 0.5) if given else None
        found += counts.until(60 * turn)
    keep(tmp_path, *(said(id_, "a", 700) for id_ in waiting)) if waiting else None
    found += counts.until(60 * 24)
    assert sorted(found) == sorted(ids)
