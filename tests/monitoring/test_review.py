"""What is drawn for people to label: the useful more often, each with a chance that is known and never 0."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertune.monitoring import review
from evertune.monitoring.review import Candidates, Picked, alike, chances, pick, uncertainty


def made(rows: int = 60, seed: int = 0, **changes: Any) -> Candidates:
    rng = np.random.default_rng(seed)
    best = rng.uniform(0.5, 1, rows)
    fields: dict[str, Any] = {
        "ids": [f"id {row}" for row in range(rows)],
        "texts": [f"text {row}" for row in range(rows)],
        "scores": np.stack([best, 1 - best], axis=1),
        "embeddings": rng.normal(size=(rows, 16)).astype(np.float32),
        "novelty": rng.uniform(size=rows),
    }
    return Candidates(**{**fields, **changes})


def by_id(found: list[Picked]) -> dict[str, Picked]:
    return {one.id: one for one in found}


def test_the_chance_that_is_told_is_the_share_of_draws_that_a_row_is_in() -> None:
    texts = [f"text {max(row, 5)}" for row in range(40)]  # the first six say the same
    candidates = made(40, texts=texts)
    drawn, told = np.zeros(40), {}
    draws = 3000
    for seed in range(draws):
        for one in pick(candidates, 10, seed * 2):
            row = candidates.ids.index(one.id)
            drawn[row] += 1
            told[row] = one.probability
    assert told.keys() == set(range(40))
    for row, probability in told.items():
        assert 0 < probability <= 1
        error = 4.5 * np.sqrt(probability * (1 - probability) / draws)
        assert drawn[row] / draws == pytest.approx(probability, abs=error)
    assert drawn.sum() / draws == pytest.approx(10, abs=0.3)


def test_weighing_by_one_through_the_chance_gives_the_share_of_all() -> None:
    candidates = made(400)
    wrong = candidates.scores[:, 0] < 0.6  # the unsure ones: drawn more often
    estimates, plain = [], []
    for seed in range(200):
        found = pick(candidates, 60, seed * 2)
        rows = [candidates.ids.index(one.id) for one in found]
        weights = np.array([1 / one.probability for one in found])
        estimates.append((wrong[rows] * weights).sum() / weights.sum())
        plain.append(wrong[rows].mean())
    assert np.mean(estimates) == pytest.approx(wrong.mean(), abs=0.01)
    assert np.mean(plain) > wrong.mean() + 0.05


def test_the_unsure_and_the_new_are_drawn_more_often_and_it_says_why() -> None:
    sure, unsure = [0.99, 0.01], [0.51, 0.49]
    scores = np.array([sure] * 50 + [unsure] * 10 + [sure] * 10)
    novelty = np.array([0.5] * 60 + [0.999] * 10)
    found = by_id(pick(made(70, scores=scores, novelty=novelty), 69, 0))
    least, uncertain, new = (found[f"id {row}"] for row in (0, 55, 65))
    assert least.probability < uncertain.probability
    assert least.probability < new.probability
    assert "unsure" in uncertain.why
    assert "unlike" in new.why
    assert "random" in least.why


@pytest.mark.parametrize("how", ["texts", "embeddings"])
def test_answers_that_say_the_same_are_one_question(how: str) -> None:
    candidates = made(30)
    if how == "texts":
        candidates = made(30, texts=["the same"] * 12 + [f"text {row}" for row in range(18)])
    else:
        embeddings = candidates.embeddings.copy()
        embeddings[:12] = embeddings[0] + np.random.default_rng(1).normal(size=(12, 16)) * 0.01
        candidates = made(30, embeddings=embeddings)
    found = pick(candidates, 30, 0)
    assert len(found) == 19
    (one,) = [one for one in found if int(one.id.split()[1]) < 12]
    assert one.probability == pytest.approx(1 / 12)
    assert "one of 12" in one.why


def test_all_rows_the_same_are_one_question() -> None:
    same = made(20, texts=["the same"] * 20, embeddings=np.ones((20, 16), np.float32))
    (one,) = pick(same, 5, 0)
    assert one.probability == pytest.approx(1 / 20)


def test_bad_rows_are_rows_like_any_other() -> None:
    scores = np.full((5, 2), np.nan)
    embeddings = np.full((5, 16), np.nan, np.float32)
    found = pick(made(5, scores=scores, embeddings=embeddings, novelty=np.full(5, np.nan)), 9, 0)
    some = pick(made(5, scores=scores, embeddings=embeddings, novelty=np.full(5, np.nan)), 2, 3)
    assert {one.probability for one in some} <= {0.4}
    assert {one.probability for one in found} == {1.0}
    assert len(found) == 5
    assert len(pick(made(5, embeddings=np.zeros((5, 0), np.float32)), 9, 0)) == 5
    assert len(pick(made(5, scores=np.ones((5, 1))), 9, 0)) == 5


def test_nothing_to_draw_from_and_nothing_to_draw() -> None:
    assert pick(made(0, scores=np.zeros((0, 2))), 5, 0) == []
    assert pick(made(5), 0, 0) == []


def test_a_draw_that_is_repeated_is_the_same_and_grown_traffic_changes_little() -> None:
    before, again = (by_id(pick(made(200), 50, 0)) for _ in range(2))
    assert before == again
    rng = np.random.default_rng(7)
    more = made(210, embeddings=np.concatenate([made(200).embeddings, rng.normal(size=(10, 16)).astype(np.float32)]))
    more.scores[:200], more.novelty[:200] = made(200).scores, made(200).novelty
    after = by_id(pick(more, 50, 0))
    assert len(before.keys() & after.keys()) > 0.8 * len(before)


@given(st.lists(st.floats(0.1, 2.1), min_size=1, max_size=50), st.integers(1, 60))
def test_chances_are_above_0_at_most_1_and_sum_to_what_is_wanted(use: list[float], n: int) -> None:
    found = chances(np.array(use), n)
    assert (found > 0).all()
    assert (found <= 1).all()
    assert found.sum() == pytest.approx(min(n, len(use)))
    order = np.argsort(use)
    assert (np.diff(found[order]) >= -1e-12).all()


@settings(deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=20), st.randoms())
def test_equal_texts_are_in_one_group_whatever_the_order(texts: list[int], random: Any) -> None:
    order = list(range(len(texts)))
    random.shuffle(order)
    embeddings = np.eye(4, dtype=np.float32)[texts]
    candidates = made(len(texts), texts=[str(one) for one in texts], embeddings=embeddings)
    groups = alike(candidates, np.array(order))
    assert set(groups) == set(range(len(set(texts))))
    assert len({(text, group) for text, group in zip(texts, groups, strict=True)}) == len(set(texts))


def test_uncertainty_is_the_lead_that_the_best_label_lacks() -> None:
    assert uncertainty(np.array([[0.5, 0.5], [1, 0], [0.2, 0.7]])).tolist() == pytest.approx([1, 0, 0.5])
    assert uncertainty(np.full((1, 2), np.nan)).tolist() == [1]
    assert review.LEAST_USE > 0
