"""Which side labelled traffic is on, how much of it is trained on, and how heavily it weighs."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.data import recent
from evertune.data import split as splitting
from evertune.data.split import LEFT_OUT, RECENT, SPLITS, TEST, TRAIN, VALIDATION
from evertune.project.options import Retraining, Split

SPLIT = Split()
GROUPS = [f"document {number}" for number in range(4000)]


def test_the_shares_are_those_asked_for() -> None:
    found = [recent.side(group, SPLIT, 0.3, frozenset()) for group in GROUPS]
    shares = np.bincount(found, minlength=4) / len(found)
    assert shares[TEST] == 0
    assert shares[RECENT] == pytest.approx(0.3, abs=0.03)
    assert shares[VALIDATION] == pytest.approx(0.7 * 0.1 / 0.8, abs=0.02)


@given(st.floats(0.01, 0.99), st.sampled_from([Split(), Split(test=0.5, validation=0.4), Split(test=0.05)]))
def test_a_group_of_the_sources_stays_on_its_side(judged_share: float, split: Split) -> None:
    for group in GROUPS[:50]:
        there = splitting.assign(group, split)
        side = recent.side(group, split, judged_share, {group})
        assert side == (RECENT if there == TEST else there)
        assert recent.side(group, split, judged_share, frozenset()) in {RECENT, VALIDATION, TRAIN}


def test_what_must_not_be_judged_on_is_not_trained_on_either() -> None:
    options = Retraining(judged_share=0.3)
    free = recent.sides(GROUPS, [True] * len(GROUPS), SPLIT, options, frozenset())
    bound = recent.sides(GROUPS, [False] * len(GROUPS), SPLIT, options, frozenset())
    assert {(a, b) for a, b in zip(free, bound, strict=True)} == {
        (RECENT, LEFT_OUT), (VALIDATION, VALIDATION), (TRAIN, TRAIN),
    }  # fmt: skip


def test_the_frozen_test_rows_come_first_and_the_judged_ones_next() -> None:
    order = sorted(range(len(splitting.SIDES)), key=lambda side: splitting.PRECEDENCE[side])
    assert [splitting.SIDES[side] for side in order] == ["test", "recent", "validation", "train", "left out"]
    assert splitting.SIDES[: len(SPLITS)] == SPLITS


@pytest.mark.parametrize(("share", "stay"), [(0.0, 0), (0.2, 2), (0.5, 8), (0.9, 10), (1.0, 10)])
def test_the_newest_stay(share: float, stay: int) -> None:
    times = [f"2026-11-{day:02}T00:00:00+00:00" for day in range(10, 20)]
    ids = np.array([f"{i}" for i in range(10)], dtype="S64")
    left_out = recent.too_many(times, ids, others=8, share=share)
    assert left_out.tolist() == [True] * (10 - stay) + [False] * stay


def test_equal_chances_weigh_alike() -> None:
    assert recent.weights(np.full(5, np.nan)).tolist() == [1.0] * 5
    assert recent.weights(np.full(5, 0.01)) == pytest.approx(np.ones(5))
    assert len(recent.weights(np.zeros(0))) == 0


def test_rows_picked_by_a_small_chance_stand_for_many() -> None:
    weights = recent.weights(np.array([0.5, 0.5, 0.5, 0.1]))
    assert weights.mean() == pytest.approx(1)
    assert weights[3] / weights[0] == pytest.approx(5)


def test_no_row_decides_alone() -> None:
    weights = recent.weights(np.array([0.5] * 9 + [0.0001]))
    assert weights[9] / weights[0] == pytest.approx(recent.HEAVIEST)


def test_picked_and_plain_rows_are_put_together_by_what_each_can_tell() -> None:
    chances = np.array([0.5] * 50 + [0.1] * 50 + [np.nan] * 60)
    weights = recent.weights(chances)
    size = recent.effective(1 / chances[:100])
    assert size < 100
    assert weights[:100].sum() / weights[100:].sum() == pytest.approx(size / 60)
    assert len(set(weights[100:].tolist())) == 1


def test_weighted_rows_tell_what_all_rows_would() -> None:
    """Errors are picked four times as often as right answers: unweighted, the share of errors is far off."""
    rng = np.random.default_rng(5)
    wrong = rng.random(40_000) < 0.2
    chance = np.where(wrong, 0.4, 0.1)
    picked = rng.random(40_000) < chance
    weights = recent.weights(chance[picked])
    assert wrong[picked].mean() > 0.4
    assert (weights * wrong[picked]).sum() / weights.sum() == pytest.approx(0.2, abs=0.015)
