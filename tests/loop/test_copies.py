"""Copies count once, by the rule of the data set that the release has learned."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from tests.ledger.made import released
from tests.support import small_project

from evertune.ledger import engine as engines
from evertune.ledger import runs, steps, triggers
from evertune.loop.copies import one_of_each, threshold, without_copies
from evertune.monitoring.samples import Sample
from evertune.project import Project
from evertune.records import Cause, Step
from evertune.settings import Settings

TEXTS = (
    "Where is the parcel that I ordered from your shop in May, number 17?",
    "It works.",
    "It works.",
    "Where is the parcel that I ordered from your shop in May, number 4711?",
    "Please close my account today.",
)


@pytest.mark.parametrize(("near", "stay"), [(None, [0, 1, 3, 4]), (0.8, [0, 1, 4]), (1.0, [0, 1, 3, 4])])
def test_the_first_of_each_stays(near: float | None, stay: list[int]) -> None:
    assert one_of_each(TEXTS, near).tolist() == stay
    assert one_of_each(TEXTS[::-1], near).tolist() == ([0, 1, 2] if near == 0.8 else [0, 1, 2, 4])


@pytest.mark.parametrize("texts", [[], ["one"], ["one", "one"], ["", "", "!!!"]])
def test_few_texts_do_not_fail(texts: list[str]) -> None:
    assert [texts[row] for row in one_of_each(texts, 0.8)] == list(dict.fromkeys(texts))


def test_rows_go_with_their_texts() -> None:
    rows = len(TEXTS)
    sample = Sample(
        np.eye(rows, 8, dtype=np.float32), np.full((rows, 2), 0.5), TEXTS, ("bad", "good"), np.arange(rows) % 2,
        np.ones(rows), [str(row) for row in range(rows)],
    )  # fmt: skip
    left = without_copies(sample, 0.8)
    assert left.ids == ["0", "1", "4"]
    assert left.embeddings.argmax(axis=1).tolist() == [0, 1, 4]
    assert without_copies(left, 0.8) is left
    assert len(without_copies(Sample.empty(8, ("bad", "good")), 0.8)) == 0


def project(**preparation: Any) -> Project:
    return Project.model_validate(small_project(
        data={"sources": [{"uri": "/x.csv"}], "columns": {"text": "body", "label": "label"}}, evaluation={},
        slug="spam", preparation=preparation,
    ))  # fmt: skip


@pytest.fixture
def ledger(where: Settings) -> Engine:
    return engines.ready(where.database_url)


def test_the_rule_is_that_of_the_releases_own_run(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.PERSON, "k", "because")
    run = runs.claim(ledger, "spam", "one", 60)
    assert run is not None
    now = project(near_duplicates=0.9)
    assert threshold(ledger, now, 1) == 0.9, "there is no such release: the project as it is"
    released(ledger, run)
    assert threshold(ledger, now, 1) == 0.9, "nor a claim that says another"
    frozen = project(near_duplicates=None).model_dump(mode="json")
    steps.record(ledger, run, Step.CLAIM, {"project": frozen}, 0.0)
    assert threshold(ledger, now, 1) is None
