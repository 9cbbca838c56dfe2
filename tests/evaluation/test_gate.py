import dataclasses
import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from tests.evaluation.made import evaluation_of, pairs_of, probabilities, without_champion, won_and_lost

from evertune.evaluation import gate
from evertune.evaluation.paired import CHAMPION, Pairs
from evertune.project.options import Gate, Guard, Metric
from evertune.records import Decision, UnfitError, Verdict


def judge(pairs: Pairs, looks: int = 0, **policy: Any) -> Verdict:
    return gate.judge(evaluation_of(pairs), pairs, Gate(**policy), looks)


def test_a_proven_gain_is_promoted() -> None:
    verdict = judge(won_and_lost(120, 60, 2000))
    assert verdict.decision is Decision.PROMOTE
    assert verdict.gain == pytest.approx(0.03)
    assert verdict.interval is not None
    assert 0 < verdict.interval[0] < 0.03 < verdict.interval[1]
    assert verdict.opponent == CHAMPION
    assert all(verdict.checks.values())
    assert "97.0% against 94.0% of the champion, on 2,000 test rows (120 won, 60 lost)" in verdict.reasons[0]
    assert "The gain is proven" in verdict.reasons[1]


def test_a_gain_that_is_surely_too_small_to_matter_is_rejected() -> None:
    verdict = judge(won_and_lost(40, 90, 2000))
    assert verdict.decision is Decision.REJECT
    assert "0.5 points, the smallest that matters, is ruled out" in verdict.reasons[1]
    assert verdict.more_rows is None


def test_between_the_two_there_is_not_enough_evidence_and_it_says_how_much_is_missing() -> None:
    verdict = judge(won_and_lost(70, 55, 2000))
    assert verdict.decision is Decision.NOT_ENOUGH_EVIDENCE
    assert verdict.more_rows is not None
    assert "more test rows would probably decide" in verdict.reasons[1]
    # So many rows with the same shares, and the next look decides.
    grown = (2000 + verdict.more_rows) / 2000
    assert (
        judge(won_and_lost(round(70 * grown), round(55 * grown), round(2000 * grown)), 1).decision is Decision.PROMOTE
    )


def test_a_proven_gain_that_is_too_small_waits() -> None:
    verdict = judge(won_and_lost(120, 60, 2000), smallest_gain=0.035)
    assert verdict.decision is Decision.NOT_ENOUGH_EVIDENCE
    assert verdict.checks["gain is proven"]
    assert not verdict.checks["gain is large enough"]
    assert "hardly enough to matter" in verdict.reasons[1]


def test_the_same_answers_are_unchanged() -> None:
    pairs = won_and_lost(50, 10, 500)
    same = dataclasses.replace(pairs, challenger=pairs.opponents[CHAMPION])
    verdict = judge(same)
    assert verdict.decision is Decision.UNCHANGED
    assert "all 500 test rows exactly as the champion" in verdict.reasons[0]


@given(st.integers(0, 300), st.integers(2, 500), st.sampled_from(list(Metric)))
@settings(max_examples=25, deadline=None)
def test_identical_models_are_never_promoted(wrong: int, rows: int, metric: Metric) -> None:
    pairs = won_and_lost(0, 0, rows)
    answers = probabilities(pairs.truth, np.arange(rows) >= wrong, 2)
    other = np.where(answers > 0.5, answers - 1e-6, answers + 1e-6).astype(np.float32)  # the same but for the last bits
    for ours in (answers, other):
        models = dataclasses.replace(pairs, challenger=ours, opponents={**pairs.opponents, CHAMPION: answers})
        verdict = judge(models, metric=metric, smallest_gain=0.001)
        assert verdict.decision is not Decision.PROMOTE


@given(st.integers(0, 80), st.integers(0, 60), st.integers(1, 40), st.sampled_from([Metric.ACCURACY, Metric.F1]))
@settings(max_examples=25, deadline=None)
def test_more_wins_never_turn_a_promotion_into_anything_else(won: int, lost: int, more: int, metric: Metric) -> None:
    guards = (Guard(metric=Metric.F1, margin=0.02),)
    before = judge(won_and_lost(won, lost, 600), metric=metric, guards=guards)
    after = judge(won_and_lost(won + more, lost, 600), metric=metric, guards=guards)
    if before.decision is Decision.PROMOTE:
        assert after.decision is Decision.PROMOTE
    if after.decision is Decision.REJECT:
        assert before.decision is Decision.REJECT


@given(st.integers(0, 80), st.integers(0, 80))
@settings(max_examples=25, deadline=None)
def test_of_two_models_at_most_one_may_replace_the_other(won: int, lost: int) -> None:
    pairs = won_and_lost(won, lost, 500)
    verdicts = [judge(pairs, smallest_gain=0.0), judge(pairs.swapped(), smallest_gain=0.0)]
    assert [v.decision for v in verdicts].count(Decision.PROMOTE) <= 1
    gains = [v.gain for v in verdicts]
    assert gains[0] == pytest.approx(-(gains[1] or 0.0))


def test_it_is_pure() -> None:
    pairs = won_and_lost(70, 55, 1000)
    assert judge(pairs, metric=Metric.F1) == judge(pairs, metric=Metric.F1)


def test_the_error_budget_is_spent_over_successive_challengers() -> None:
    shares = [gate.spent(0.95, looks) for looks in range(100_000)]
    assert shares == sorted(shares, reverse=True)
    assert sum(shares) < 0.05
    assert sum(shares) == pytest.approx(0.05, rel=1e-4)
    pairs = won_and_lost(85, 55, 2000)
    decisions = [judge(pairs, looks).decision for looks in range(6)]
    assert decisions[0] is Decision.PROMOTE
    assert decisions[-1] is Decision.NOT_ENOUGH_EVIDENCE
    assert all(b is not Decision.PROMOTE or a is Decision.PROMOTE for a, b in itertools.pairwise(decisions))
    assert "challenger 6 to the same opponent" in judge(pairs, 5).reasons[0]


def test_of_equal_models_few_are_promoted_even_in_ten_looks() -> None:
    rng, promoted, draws = np.random.default_rng(11), 0, 80
    policy = Gate(smallest_gain=0.0, slice_margin=None)
    evaluation = evaluation_of(won_and_lost(1, 1, 200))
    for _ in range(draws):
        champion = rng.random(200) < 0.8
        for look in range(10):
            pairs = pairs_of(np.where(rng.random(200) < 0.5, champion, rng.random(200) < 0.8), champion)
            if gate.judge(evaluation, pairs, policy, look).decision is Decision.PROMOTE:
                promoted += 1
                break
    assert promoted <= 9  # 5% of 80 are 4: more than 9 have a chance below 1%


def test_a_guard_that_is_shown_to_suffer_rejects() -> None:
    pairs = won_and_lost(200, 60, 2000)
    unsure = dataclasses.replace(pairs, challenger=(pairs.challenger * 0.5 + 0.25).astype(np.float32))
    verdict = judge(unsure, guards=(Guard(metric=Metric.CALIBRATION_ERROR, margin=0.02),))
    assert verdict.decision is Decision.REJECT
    assert verdict.checks["guard calibration_error"] is False
    assert "calibration error worsens by" in verdict.reasons[-1]
    assert "surely by more than the 2.0 points that are allowed" in verdict.reasons[-1]
    assert judge(unsure).decision is Decision.PROMOTE


def test_a_guard_without_enough_evidence_holds_a_promotion_back() -> None:
    pairs = won_and_lost(30, 10, 300)
    unsure = dataclasses.replace(pairs, challenger=(pairs.challenger * 0.9 + 0.05).astype(np.float32))
    assert judge(unsure).decision is Decision.PROMOTE
    held_back = judge(unsure, guards=(Guard(metric=Metric.CALIBRATION_ERROR, margin=0.01),))
    assert held_back.decision is Decision.NOT_ENOUGH_EVIDENCE
    assert held_back.checks["gain is proven"] is True
    assert held_back.checks["guard calibration_error"] is False
    assert "is not ruled out" in held_back.reasons[-1]


def slice_harm(rows: int, lost: int) -> Pairs:
    ours, theirs = np.ones(2000, bool), np.ones(2000, bool)
    ours[:lost] = False
    theirs[1000:1200] = False
    columns = {"domain": ["news" if i < rows else "reviews" for i in range(2000)]}
    return dataclasses.replace(pairs_of(ours, theirs), columns=columns)


def test_a_slice_vetoes_only_on_shown_harm() -> None:
    verdict = judge(slice_harm(200, 60))
    assert verdict.decision is Decision.REJECT
    assert verdict.checks["slice domain=news"] is False
    assert verdict.checks["slice domain=reviews"] is True
    assert verdict.reasons[-1].startswith("Slice domain=news (200 rows): accuracy falls by 30.0 points")
    assert judge(slice_harm(200, 15)).decision is Decision.PROMOTE  # 7.5 points, but not surely more than 5
    assert judge(slice_harm(25, 25)).decision is Decision.PROMOTE  # too small to judge
    assert judge(slice_harm(200, 60), slice_margin=None).decision is Decision.PROMOTE


def right_on(*shares: float) -> NDArray[np.bool_]:
    """Of 1,000 rows of each class, in turn, the given share of each class is right, wherever they stand."""
    chance = np.random.default_rng(5)
    by_class = [chance.permutation(1000) < 1000 * share for share in shares]
    return np.stack(by_class, axis=1).reshape(-1)


def test_a_class_is_judged_by_its_f1_so_that_a_lopsided_champion_can_be_followed_by_a_balanced_model() -> None:
    # The champion gives the first answer to all of its rows and to 30% of the other class's.
    verdict = judge(pairs_of(right_on(0.9, 0.95), right_on(1.0, 0.7)))
    assert verdict.decision is Decision.PROMOTE  # although it finds 10 points fewer of the first class
    assert verdict.checks["slice class=class 0"]


def test_a_class_that_gets_worse_vetoes() -> None:
    verdict = judge(pairs_of(right_on(0.6, 1, 1), right_on(1, 0.75, 0.75), classes=3))
    assert verdict.gain == pytest.approx(0.1 / 3)
    assert verdict.decision is Decision.REJECT
    assert "Slice class=class 0 (1,000 rows): its F1 falls by" in verdict.reasons[-1]


def test_of_many_harmless_slices_few_veto() -> None:
    rng, vetoed = np.random.default_rng(12), 0
    for _ in range(30):
        harm = rng.random(1000)
        pairs = pairs_of(harm >= 0.05, np.ones(1000, bool))  # every slice truly loses just the margin of 5 points
        pairs = dataclasses.replace(pairs, columns={"shop": [f"{i % 20}" for i in range(1000)]})
        vetoed += any(not passed for check, passed in judge(pairs).checks.items() if check.startswith("slice"))
    assert vetoed <= 5  # 5% of 30 are 1.5: more than 5 have a chance below 1%


def test_the_first_release_is_judged_against_the_better_baseline() -> None:
    strong = without_champion(won_and_lost(60, 60, 2000))
    verdict = judge(strong, guards=(Guard(metric=Metric.CALIBRATION_ERROR, margin=0.001),))
    assert (verdict.decision, verdict.opponent) == (Decision.PROMOTE, "untuned")
    assert "of the untuned base model" in verdict.reasons[0]
    weak = dataclasses.replace(strong, challenger=strong.opponents["majority"])
    assert judge(weak).decision is Decision.REJECT
    calibrated = judge(strong, metric=Metric.CALIBRATION_ERROR)
    assert calibrated.reasons[0].startswith("Accuracy")


@pytest.mark.parametrize("metric", list(Metric))
def test_every_metric_can_be_the_primary_one(metric: Metric) -> None:
    rng = np.random.default_rng(13)
    pairs = pairs_of(rng.random(2000) < 0.95, rng.random(2000) < 0.8, classes=3)
    sure = probabilities(pairs.truth, pairs.challenger.argmax(1) == pairs.truth, 3, 0.95)
    unsure = probabilities(pairs.truth, pairs.opponents[CHAMPION].argmax(1) == pairs.truth, 3, 0.55)
    models = dataclasses.replace(pairs, challenger=sure, opponents={CHAMPION: unsure})
    verdict = judge(models, metric=metric)
    assert verdict.decision is Decision.PROMOTE
    assert judge(models.swapped(), metric=metric).decision is Decision.REJECT


def test_pairs_of_another_evaluation_are_refused() -> None:
    pairs = won_and_lost(5, 5, 100)
    with pytest.raises(UnfitError, match="not those of the evaluation"):
        gate.judge(evaluation_of(won_and_lost(5, 5, 90)), pairs, Gate(), 0)
    with pytest.raises(UnfitError, match="not those of the evaluation"):
        gate.judge(evaluation_of(pairs), without_champion(pairs), Gate(), 0)
    with pytest.raises(UnfitError, match="no champion and no baseline"):
        gate.judge(evaluation_of(pairs), dataclasses.replace(pairs, opponents={}), Gate(), 0)
    with pytest.raises(ValueError, match="negative"):
        gate.judge(evaluation_of(pairs), pairs, Gate(), -1)
