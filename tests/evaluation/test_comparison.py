import dataclasses
import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from tests.evaluation.made import pairs_of, won_and_lost

from evertune.evaluation import comparison, metrics
from evertune.evaluation.comparison import Contributions
from evertune.evaluation.paired import CHAMPION, Pairs
from evertune.project.options import Metric


def gains_of(pairs: Pairs, metric: Metric = Metric.ACCURACY) -> Contributions:
    return comparison.contributions(metric, pairs, pairs.opponents[CHAMPION])


def made(each: list[float]) -> Contributions:
    values = np.array(each, float)
    return Contributions(float(values.sum()), values, np.full(len(each), 1 / len(each)), len(each), 1.0)


@given(st.integers(0, 60), st.integers(0, 60))
@settings(max_examples=50, deadline=None)
def test_where_each_row_is_a_group_it_is_mcnemars_exact_test(won: int, lost: int) -> None:
    found = comparison.sign_flip(gains_of(won_and_lost(won, lost, 150)), counts=True)
    expected = stats.binomtest(won, won + lost, 0.5, "greater").pvalue if won + lost else 1.0
    assert found == pytest.approx(expected, rel=1e-9)


@given(st.lists(st.integers(-4, 4), min_size=1, max_size=9))
@settings(max_examples=60, deadline=None)
def test_with_larger_groups_it_counts_all_sign_flips(each: list[int]) -> None:
    flips = [
        sum(sign * abs(size) for sign, size in zip(signs, each, strict=True))
        for signs in product((1, -1), repeat=len(each))
    ]
    expected = np.mean([flip >= sum(each) for flip in flips])
    assert comparison._exact(np.array(each)) == pytest.approx(expected)
    assert comparison._enumerated(np.array(each, float)) == pytest.approx(expected)


@pytest.mark.parametrize("shift", [-0.2, 0.0, 0.05, 0.3, 0.6, 1.5])
def test_the_saddlepoint_is_right_far_into_the_tail(shift: float) -> None:
    rng = np.random.default_rng(3)
    each = rng.normal(shift, 1.0, 40)
    found = comparison.sign_flip(made(each.tolist()), counts=False)
    draws = 400_000
    flips = (1 - 2 * rng.integers(0, 2, (draws, len(each)), dtype=np.int8)).astype(np.float32) @ each.astype(np.float32)
    expected = (flips >= each.sum()).mean()
    assert found == pytest.approx(expected, rel=0.05, abs=4 * math.sqrt(max(expected, 1 / draws) / draws))


def test_the_saddlepoint_knows_the_ends() -> None:
    ones = made([0.01] * 40)
    assert comparison.sign_flip(ones, counts=False) == 2.0**-40
    assert comparison.sign_flip(made([0.01, -0.01] * 20), counts=False) == pytest.approx(0.5)
    assert comparison.sign_flip(made([0.0] * 40), counts=False) == 1.0


@given(st.integers(0, 40), st.integers(0, 40), st.sampled_from(list(Metric)))
@settings(max_examples=60, deadline=None)
def test_swapping_the_models_negates_the_gain(won: int, lost: int, metric: Metric) -> None:
    pairs = won_and_lost(won, lost, 120)
    here, there = gains_of(pairs, metric), gains_of(pairs.swapped(), metric)
    assert there.gain == pytest.approx(-here.gain)
    assert np.allclose(there.each, -here.each)
    low, high = comparison.bounds(here, 0.05, 0.05)
    assert comparison.bounds(there, 0.05, 0.05) == pytest.approx((-high, -low))
    assert low <= here.gain <= high


@pytest.mark.parametrize("metric", list(Metric))
def test_contributions_add_up_to_the_gain(metric: Metric) -> None:
    rng = np.random.default_rng(5)
    pairs = pairs_of(rng.random(600) < 0.9, rng.random(600) < 0.85, classes=3, groups=np.arange(600) // 4)
    gains = gains_of(pairs, metric)
    scores = [metrics.score(pairs.labels, pairs.truth, a) for a in (pairs.challenger, pairs.opponents[CHAMPION])]
    ours, theirs = (getattr(score, metric.value) for score in scores)
    assert gains.gain == pytest.approx((theirs - ours) if metric in metrics.LESS_IS_BETTER else (ours - theirs))
    assert gains.each.sum() == pytest.approx(gains.gain, rel=0.02, abs=1e-4)
    assert len(gains.each) == 150
    assert gains.weights.sum() == pytest.approx(1)


def test_rows_that_go_together_count_as_one() -> None:
    rng = np.random.default_rng(6)
    ours, theirs = np.repeat(rng.random(100) < 0.6, 10), np.repeat(rng.random(100) < 0.5, 10)
    alone, together = gains_of(pairs_of(ours, theirs)), gains_of(pairs_of(ours, theirs, groups=np.arange(1000) // 10))
    assert together.gain == alone.gain
    assert together.variance > 5 * alone.variance
    assert comparison.sign_flip(together, counts=True) > 100 * comparison.sign_flip(alone, counts=True)


def test_too_few_groups_bound_nothing() -> None:
    pairs = pairs_of(np.ones(40, bool), np.zeros(40, bool), groups=np.arange(40) // 20)
    assert comparison.bounds(gains_of(pairs), 0.01, 0.01) == (-1.0, 1.0)


def test_models_that_never_differ_still_leave_doubt() -> None:
    low, high = comparison.bounds(gains_of(won_and_lost(0, 0, 100)), 0.05, 0.05)
    # Exact: with at most 5% chance to see no difference, they differ on at most 3% of rows.
    assert high == pytest.approx(2.7 / 100, rel=0.1)
    assert low == pytest.approx(-high)


@pytest.mark.parametrize(
    ("rows", "differ", "gain"), [(100, 0.1, 0.0), (300, 0.05, 0.02), (1000, 0.1, 0.01), (400, 0.2, -0.05)]
)
def test_bounds_are_wrong_as_rarely_as_they_say(rows: int, differ: float, gain: float) -> None:
    rng = np.random.default_rng(7)
    odds = [(differ + gain) / 2, (differ - gain) / 2, 1 - differ]
    wrong = np.zeros(2)
    for won, lost, _ in rng.multinomial(rows, odds, 2000):
        each = np.concatenate((np.ones(won), -np.ones(lost), np.zeros(rows - won - lost))) / rows
        low, high = comparison.bounds(
            Contributions((won - lost) / rows, each, np.full(rows, 1 / rows), rows, 1.0), 0.05, 0.05
        )
        wrong += [low > gain, high < gain]
    assert (wrong / 2000 < 0.05 + 3 * math.sqrt(0.05 * 0.95 / 2000)).all(), wrong / 2000
    assert (wrong / 2000 > 0.015).all(), wrong / 2000


def test_the_test_of_no_gain_holds_its_level_for_macro_f1() -> None:
    rng, false, draws = np.random.default_rng(8), 0, 400
    for _ in range(draws):
        pairs = pairs_of(rng.random(400) < 0.85, rng.random(400) < 0.85, classes=3)
        false += comparison.sign_flip(gains_of(pairs, Metric.F1), counts=False) <= 0.05
    assert false / draws < 0.05 + 3 * math.sqrt(0.05 * 0.95 / draws)


@pytest.mark.parametrize("metric", list(Metric))
def test_a_row_of_weight_three_is_a_group_of_three_copies(metric: Metric) -> None:
    rng = np.random.default_rng(2)
    pairs = pairs_of(rng.random(60) < 0.9, rng.random(60) < 0.7, classes=3)
    counts = rng.integers(1, 4, 60)
    many = np.repeat(np.arange(60), counts)
    copied = dataclasses.replace(
        pairs,
        row_ids=[pairs.row_ids[int(i)] for i in many],
        truth=pairs.truth[many],
        challenger=pairs.challenger[many],
        opponents={name: answers[many] for name, answers in pairs.opponents.items()},
        groups=pairs.groups[many],
        columns={},
    )
    weighted = dataclasses.replace(pairs, weights=counts.astype(float), columns={})
    one, other = (comparison.contributions(metric, p, p.opponents[CHAMPION]) for p in (weighted, copied))
    assert one.gain == pytest.approx(other.gain)
    assert one.each == pytest.approx(other.each)
    assert one.weights == pytest.approx(other.weights)
    assert one.rows == pytest.approx(pairs_effective := round(weighted.effective_rows))
    assert pairs_effective < len(pairs)


def test_unequal_weights_cost_a_loss_of_the_heaviest_row() -> None:
    pairs = pairs_of(np.arange(100) >= 5, np.arange(100) < 90)
    equal = dataclasses.replace(pairs, weights=np.ones(100))
    gains = comparison.contributions(Metric.ACCURACY, equal, equal.opponents[CHAMPION])
    assert gains.cautious is gains
    weights = np.where(np.arange(100) < 4, 5.0, 1.0)
    heavy = dataclasses.replace(pairs, weights=weights)
    gains = comparison.contributions(Metric.ACCURACY, heavy, heavy.opponents[CHAMPION])
    assert gains.gain - gains.cautious.gain == pytest.approx(4 / weights.sum())
    assert comparison.sign_flip(gains.cautious, counts=False) > comparison.sign_flip(gains, counts=False)
