from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from evertune.data.validation import facts
from evertune.data.validation.facts import deviations, gather
from evertune.project.options import Project

MakeProject = Callable[..., Project]
MakeRows = Callable[..., Path]


def test_facts_of_each_row(project: MakeProject, rows: MakeRows) -> None:
    found = gather(project({"script": "Latin"}), rows(["Hello, мир", " \t ", None, "42"], ["a", "b", None, "a"]))
    assert found.characters.tolist()[:2] == [10, 3]
    assert found.visible.tolist()[:2] == [9, 0]
    assert found.script_share[0] == pytest.approx(5 / 8)
    assert np.isnan(found.script_share[1:]).all(), "a text without letters, or no text, has no share"
    assert math.isnan(found.characters[2])
    assert math.isnan(found.visible[2])
    assert len(found) == 4


def test_what_redaction_leaves_is_not_counted_as_the_authors_letters(project: MakeProject, rows: MakeRows) -> None:
    found = gather(project({"script": "Cyrillic"}), rows(["<email> да <phone>"], ["a"]))
    assert found.script_share.tolist() == [1.0]


def test_repeated_texts_with_one_class_are_copies_and_with_two_contradict(project: MakeProject, rows: MakeRows) -> None:
    texts: list[str | None] = ["one", "two", "one", "two", "two", None, None, "three"]
    found = gather(project(), rows(texts, ["a", "a", "a", "b", "b", "a", "a", None]))
    assert found.copy.tolist()[:5] == [0, 0, 1, 0, 1]
    assert found.targets.tolist()[:5] == [1, 2, 1, 2, 2]
    assert np.isnan(found.copy[5:]).all(), "rows without a text or a class repeat nothing"


def test_an_ambiguous_copy_contradicts_nothing(project: MakeProject, rows: MakeRows) -> None:
    cuts = {"cuts": [{"label": "low", "below": -1}, {"label": "high", "at_least": 1}]}
    found = gather(project(label=cuts), rows(["same", "same"], ["2", "0"]))
    assert found.targets[0] == 1
    assert math.isnan(found.targets[1])


def test_texts_longer_than_allowed_are_looked_at_no_further(project: MakeProject, rows: MakeRows) -> None:
    found = gather(project({"max_characters": 10}), rows(["x" * 1_000_000, "short"], ["a", "b"]))
    assert found.characters.tolist() == [1_000_000, 5]
    assert found.visible.tolist() == [10, 5]
    assert found.excerpt.to_pylist() == ["x" * 40, "short"]


def test_no_rows_have_no_facts(project: MakeProject, rows: MakeRows) -> None:
    found = gather(project(), rows([], []))
    assert len(found) == 0
    assert len(found.copy) == len(found.frame()) == 0


def test_rows_come_in_batches_in_their_order(
    project: MakeProject, rows: MakeRows, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(facts, "BATCH", 2)
    found = gather(project(), rows(["a", "bb", "ccc", "dddd", "eeeee"], ["x"] * 5))
    assert found.characters.tolist() == [1, 2, 3, 4, 5]
    assert found.excerpt.to_pylist() == ["a", "bb", "ccc", "dddd", "eeeee"]


def test_the_frame_tells_labels_that_are_no_numbers_apart(project: MakeProject, rows: MakeRows) -> None:
    cuts = {"cuts": [{"label": "low", "below": 0}, {"label": "high", "at_least": 0}]}
    frame = gather(project(label=cuts), rows(["a", "b", "c"], ["1", "much", None], [None, None, "NUL"])).frame()
    assert frame["label_not_a_number"].isna().tolist() == [True, False, True]
    assert frame["fault"].isna().tolist() == [True, True, False]


def test_a_few_giants_do_not_widen_the_scale_that_they_are_measured_by() -> None:
    lengths = np.concatenate([np.exp(np.random.default_rng(0).normal(4, 0.4, 1000)), [50_000.0] * 20])
    found = deviations(lengths, lengths, 100_000)
    assert (found[-20:] > 8).all()
    assert (found[:-20] < 8).all()


def test_texts_of_one_length_do_not_make_each_other_outliers() -> None:
    lengths = np.array([100.0] * 50 + [110.0, 90.0])
    assert (deviations(lengths, lengths, 1000) < 2).all()


def test_a_text_that_another_fact_tells_of_has_no_deviation() -> None:
    characters, visible = np.array([5.0, 0.0, np.nan, 2000.0]), np.array([5.0, 0.0, np.nan, 1000.0])
    assert np.isnan(deviations(characters, visible, 1000)).tolist() == [False, True, True, True]
