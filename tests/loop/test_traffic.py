"""Windows out of a real log: numbers of rows mean the same rows at the cut and at the test."""

from __future__ import annotations

import errno
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine
from tests.serving.log.made import answer, feedback, fill
from tests.support import small_project

from evertune.ledger import engine as engines
from evertune.ledger import segments, windows
from evertune.loop import traffic
from evertune.loop.traffic import Shape
from evertune.project import Project
from evertune.project.monitoring_options import WindowOptions
from evertune.records import UnreachableError, Window
from evertune.serving.log.news import Counted
from evertune.settings import Settings

NOW = datetime.now(UTC)
SHAPE = Shape(("a", "b"), 16)
PROJECT = Project.model_validate(small_project(
    "spam", data={"sources": [{"uri": "/x.csv"}], "columns": {"text": "text", "label": "label"}}, evaluation={},
))  # fmt: skip
OPTIONS = WindowOptions(rows=8, fewest_rows=4)


class Clock:
    """Five seconds a record, from half a minute before the hour on: a segment has files in two hours."""

    def __init__(self) -> None:
        self.at = (NOW - timedelta(hours=2)).replace(minute=59, second=30).timestamp()

    def __call__(self) -> float:
        self.at += 5
        return self.at


@pytest.fixture
def ledger(where: Settings) -> Engine:
    return engines.ready(where.database_url)


def log(where: Settings, ledger: Engine, records: Any, **options: Any) -> list[str]:
    return fill(where.home, records, on_closed=lambda one: segments.record(ledger, one), **options)


def cut(where: Settings, ledger: Engine) -> Window | None:
    return windows.cut(ledger, "spam", traffic.outlines(where, "spam"), OPTIONS)


def files_of(where: Settings) -> list[Path]:
    return sorted((where.home / "traffic" / "parquet").rglob("*.answers.parquet"))


def test_a_segment_that_was_open_over_the_hour_keeps_its_order(where: Settings, ledger: Engine) -> None:
    log(where, ledger, [answer(number) for number in range(10)], clock=Clock())
    assert len(files_of(where)) == 2
    window = cut(where, ledger)
    assert window is not None
    found = traffic.sample(ledger, where, window, SHAPE)
    assert found.texts == [f"text {number}" for number in range(8)]
    assert traffic.texts(ledger, where, window) == (list(zip(found.ids, found.texts, strict=True)), 0)
    assert np.array_equal(found.embeddings[3], np.arange(16, dtype=np.float32) / 4 + 3)
    assert found.predicted.tolist() == [1] * 8
    assert found.truth.tolist() == [-1] * 8


def test_where_one_of_two_files_went_nothing_is_taken_for_another_row(where: Settings, ledger: Engine) -> None:
    log(where, ledger, [answer(number) for number in range(10)], clock=Clock())
    window = cut(where, ledger)
    assert window is not None
    files_of(where)[0].unlink()
    assert len(traffic.sample(ledger, where, window, SHAPE)) == 0
    assert cut(where, ledger) is None
    assert windows.lost(ledger, "spam") == 2


def test_what_cannot_be_read_at_the_moment_is_not_lost(
    where: Settings, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    log(where, ledger, [answer(number) for number in range(10)])

    def no_more_files(*_: object, **__: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    with monkeypatch.context() as patch:
        patch.setattr(pq, "read_table", no_more_files)
        with pytest.raises(UnreachableError, match="tried again"):
            cut(where, ledger)
    assert cut(where, ledger) is not None
    assert windows.lost(ledger, "spam") == 0


def test_feedback_alone_is_no_loss(where: Settings, ledger: Engine) -> None:
    (id_,) = log(where, ledger, [answer(1)])
    log(where, ledger, [feedback(id_)] * 5)
    assert cut(where, ledger) is None
    assert windows.lost(ledger, "spam") == 0


def test_answers_of_an_older_release_are_cut_off_and_not_tested(where: Settings, ledger: Engine) -> None:
    log(where, ledger, [answer(number, generation=3 + number % 2) for number in range(20)])
    window = cut(where, ledger)
    assert window is not None
    assert (window.generation, window.rows, window.stragglers) == (4, 8, 8)
    texts = [f"text {number}" for number in range(1, 16, 2)]
    assert traffic.sample(ledger, where, window, SHAPE).texts == texts


def test_odd_answers_do_not_hold_the_others_up(where: Settings, ledger: Engine) -> None:
    odd = [answer(0, embedding=None), answer(1, embedding=np.ones(3, np.float16)),
           answer(2, output={"label": "a", "scores": [1.0]}), answer(3, output={})]  # fmt: skip
    log(where, ledger, odd + [answer(number) for number in range(4, 8)])
    window = cut(where, ledger)
    assert window is not None
    found = traffic.sample(ledger, where, window, SHAPE)
    assert found.texts == ["text 0", "text 1", "text 4", "text 5", "text 6", "text 7"]
    assert np.isnan(found.embeddings[:2]).all()


def test_labels_weigh_by_the_chance_with_which_they_were_asked_for(where: Settings, ledger: Engine) -> None:
    ids = log(where, ledger, [answer(number, answered=NOW) for number in range(8)])
    window = cut(where, ledger)
    assert window is not None
    about = window.model_copy(update={"labels_until": NOW + timedelta(days=1)})
    said = [("a", 0.1), ("b", 0.5), ("never seen", 0.5)]
    log(where, ledger, [
        feedback(id_, at=NOW, truth=truth, probability=chance)
        for id_, (truth, chance) in zip(ids, said, strict=False)
    ])  # fmt: skip
    found, _ = traffic.labelled(PROJECT, where, about, None, SHAPE)
    assert dict(zip(found.texts, found.truth.tolist(), strict=True)) == {"text 0": 0, "text 1": 1, "text 2": -1}
    weights = dict(zip(found.texts, found.weights.tolist(), strict=True))
    assert weights["text 0"] == pytest.approx(5 * weights["text 1"])
    assert len(traffic.labelled(PROJECT, where, about, Counted(NOW + timedelta(hours=1)), SHAPE)[0]) == 0
    other = about.model_copy(update={"generation": 9})
    assert len(traffic.labelled(PROJECT, where, other, None, SHAPE)[0]) == 0


@pytest.mark.parametrize(("confirmed_before", "counted"), [(0, 1), (2, 6)])
def test_complaints_are_no_sample_of_the_traffic(
    where: Settings, ledger: Engine, confirmed_before: int, counted: int
) -> None:
    ids = log(where, ledger, [answer(number, answered=NOW) for number in range(8)])
    window = cut(where, ledger)
    assert window is not None
    about = window.model_copy(update={"labels_until": NOW + timedelta(days=1)})
    log(where, ledger, [feedback(ids[7], at=NOW, truth="b", probability=0.5)])
    log(where, ledger, [feedback(id_, at=NOW, truth="b") for id_ in ids[:5]])  # the model has answered a
    before = [feedback(id_, at=NOW - timedelta(days=1), truth="a") for id_ in ids[5 : 5 + confirmed_before]]
    log(where, ledger, before)
    found, _ = traffic.labelled(PROJECT, where, about, Counted(NOW - timedelta(hours=1)), SHAPE)
    assert len(found) == counted
