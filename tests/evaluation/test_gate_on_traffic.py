"""The gate where there is labelled traffic: better there, not worse on the frozen test rows."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import stats
from tests.evaluation.made import evaluation_of, pairs_of, probabilities, without_champion, won_and_lost

from evertune.data import recent
from evertune.evaluation import gate
from evertune.evaluation.paired import CHAMPION, Pairs
from evertune.project.options import Gate, Guard, Metric, Retraining
from evertune.records import Decision, UnfitError, Verdict

FROZEN = "no loss on the frozen test rows"


def traffic(pairs: Pairs, weights: NDArray[np.float64] | None = None) -> Pairs:
    """The pairs as those of recent traffic: the champion alone is the opponent, no slices."""
    heavy = np.ones(len(pairs)) if weights is None else weights
    return dataclasses.replace(pairs, opponents={CHAMPION: pairs.opponents[CHAMPION]}, columns={}, weights=heavy)


def judge(
    test: Pairs, recent: Pairs | None, looks: int = 0, options: Retraining | None = None, **policy: Any
) -> Verdict:
    pairs = dataclasses.replace(test, recent=recent)
    return gate.judge(evaluation_of(pairs), pairs, Gate(**policy), looks, options or Retraining())


def test_a_gain_on_traffic_is_promoted_although_the_frozen_rows_show_none() -> None:
    verdict = judge(won_and_lost(30, 30, 2000), traffic(won_and_lost(60, 10, 400)))
    assert verdict.decision is Decision.PROMOTE
    assert (verdict.judged_on, verdict.opponent) == ("traffic", CHAMPION)
    assert verdict.gain == pytest.approx(0.125)
    assert verdict.checks[FROZEN] is True
    assert "on 400 labelled rows of traffic (60 won, 10 lost)" in verdict.reasons[0]
    assert "On the 2,000 frozen test rows accuracy improves by 0.0 points; a loss of more than" in verdict.reasons[2]
    assert judge(won_and_lost(30, 30, 2000), None).decision is not Decision.PROMOTE


def test_what_costs_too_much_on_the_frozen_rows_is_rejected() -> None:
    verdict = judge(won_and_lost(20, 140, 2000), traffic(won_and_lost(60, 10, 400)), slice_margin=None)
    assert verdict.decision is Decision.REJECT
    assert verdict.checks[FROZEN] is False
    assert "surely by more than the 2.0 points that a gain on traffic may cost" in verdict.reasons[2]


def test_a_loss_on_the_frozen_rows_that_is_not_ruled_out_holds_back() -> None:
    verdict = judge(won_and_lost(30, 60, 2000), traffic(won_and_lost(60, 10, 400)))
    assert verdict.decision is Decision.NOT_ENOUGH_EVIDENCE
    assert verdict.checks["gain is proven"] is True
    assert "is not ruled out, and 2.0 points are allowed" in verdict.reasons[2]
    generous = Retraining(frozen_margin=0.03)
    assert (
        judge(won_and_lost(30, 60, 2000), traffic(won_and_lost(60, 10, 400)), 0, generous).decision is Decision.PROMOTE
    )


def test_a_gain_on_the_frozen_rows_is_not_enough_where_traffic_rules_it_out() -> None:
    verdict = judge(won_and_lost(120, 20, 2000), traffic(won_and_lost(10, 60, 400)))
    assert verdict.decision is Decision.REJECT
    assert "the smallest that matters, is ruled out" in verdict.reasons[1]


def test_too_little_evidence_on_traffic_asks_for_labels() -> None:
    verdict = judge(won_and_lost(120, 20, 2000), traffic(won_and_lost(14, 8, 150)))
    assert verdict.decision is Decision.NOT_ENOUGH_EVIDENCE
    assert "more labelled rows of traffic would probably decide" in verdict.reasons[1]


@pytest.mark.parametrize(("rows", "judged_on"), [(99, "test"), (100, "traffic")])
def test_with_few_judged_rows_the_frozen_ones_decide_as_ever(rows: int, judged_on: str) -> None:
    test = won_and_lost(120, 60, 2000)
    verdict = judge(test, traffic(won_and_lost(30, 1, rows)))
    assert verdict.judged_on == judged_on
    if judged_on == "test":
        plain = judge(test, None)
        assert verdict == plain.model_copy(update={"reasons": verdict.reasons})
        why = "The 99 labelled rows of traffic are set aside: a proof on them takes 100."
        assert verdict.reasons == (*plain.reasons, why)


def in_groups(pairs: Pairs, groups: int) -> Pairs:
    return dataclasses.replace(pairs, groups=np.arange(len(pairs)) % groups)


@pytest.mark.parametrize(("groups", "looks", "judged_on"), [(5, 0, "test"), (6, 0, "traffic"), (6, 1, "test")])
def test_many_rows_of_few_documents_leave_the_frozen_ones_to_decide(groups: int, looks: int, judged_on: str) -> None:
    """Five documents: were the challenger better in each, chance would be that good once in 32, and 33 is asked for."""
    test, all_won = won_and_lost(120, 60, 2000), pairs_of(np.ones(500, bool), np.arange(500) < 100)
    verdict = judge(test, traffic(in_groups(all_won, groups)), looks)
    assert (verdict.judged_on, verdict.decision) == (judged_on, Decision.PROMOTE)
    if judged_on == "test":
        assert verdict.reasons[:-1] == judge(test, None, looks).reasons
        assert f"The 500 labelled rows of traffic are set aside: they are of {groups} groups" in verdict.reasons[-1]
        assert f"on fewer than {gate.fewest_groups(0.95, looks)} no gain can be proven" in verdict.reasons[-1]


@pytest.mark.parametrize("looks", [0, 1, 5, 40])
def test_as_many_groups_as_are_asked_for_can_prove_a_gain_and_one_fewer_cannot(looks: int) -> None:
    fewest = gate.fewest_groups(0.95, looks)
    test, all_won = won_and_lost(30, 30, 2000), pairs_of(np.ones(600, bool), np.zeros(600, bool))
    assert judge(test, traffic(in_groups(all_won, fewest)), looks).checks["gain is proven"]
    alone = in_groups(all_won, fewest - 1)
    assert not gate.judge(evaluation_of(alone), alone, Gate(), looks).checks["gain is proven"]


def test_rows_that_would_decide_are_of_groups_enough_for_the_next_look() -> None:
    """Six documents of 80 rows; the next look takes eight, however clear the gain is in the five that show one."""
    document, place = np.arange(480) % 6, np.arange(480) // 6
    ours = np.where(document == 5, place >= 10, True)
    theirs = np.where(document == 5, True, place >= 20)
    pairs = dataclasses.replace(pairs_of(ours, theirs), groups=document)
    assert gate.fewest_groups(0.95, 1) == 8
    assert judge(won_and_lost(30, 30, 2000), traffic(pairs)).more_rows == 2 * 80


def test_few_heavy_rows_are_not_many() -> None:
    weights = np.where(np.arange(150) < 10, 20.0, 1.0)
    recent = traffic(won_and_lost(30, 1, 150), weights / weights.mean())
    assert recent.effective_rows < 40
    assert judge(won_and_lost(120, 60, 2000), recent).judged_on == "test"


def test_without_a_champion_or_the_options_traffic_does_not_judge() -> None:
    test, recent = won_and_lost(120, 60, 2000), traffic(won_and_lost(60, 10, 400))
    first = judge(without_champion(test), dataclasses.replace(recent, opponents={}))
    assert (first.judged_on, first.opponent) == ("test", "untuned")
    pairs = dataclasses.replace(test, recent=recent)
    assert gate.judge(evaluation_of(pairs), pairs, Gate(), 0).judged_on == "test"


def test_guards_and_slices_are_judged_on_the_frozen_rows() -> None:
    recent = traffic(won_and_lost(60, 10, 400))
    guards = (Guard(metric=Metric.F1, margin=0.001),)
    held_back = judge(won_and_lost(30, 40, 2000), recent, guards=guards, slice_margin=0.01)
    assert held_back.checks["guard f1"] is False
    harmed = dataclasses.replace(won_and_lost(0, 0, 2000), columns={"shop": ["a"] * 100 + ["b"] * 1900})
    ours = probabilities(harmed.truth, np.arange(2000) >= 30, 2)
    verdict = judge(dataclasses.replace(harmed, challenger=ours), recent)
    assert verdict.decision is Decision.REJECT
    assert verdict.checks["slice shop=a"] is False


def test_the_same_answers_everywhere_are_unchanged_and_elsewhere_not() -> None:
    same = won_and_lost(0, 0, 500)
    same = dataclasses.replace(same, challenger=same.opponents[CHAMPION])
    assert judge(same, traffic(same)).decision is Decision.UNCHANGED
    assert judge(same, traffic(won_and_lost(60, 10, 400))).decision is Decision.PROMOTE


def test_the_error_budget_is_spent_over_looks_here_too() -> None:
    test, recent = won_and_lost(30, 30, 2000), traffic(won_and_lost(30, 14, 400))
    decisions = [judge(test, recent, look).decision for look in range(6)]
    assert decisions[0] is Decision.PROMOTE
    assert decisions[-1] is Decision.NOT_ENOUGH_EVIDENCE


def test_documents_and_not_rows_are_what_counts() -> None:
    rows = won_and_lost(60, 25, 400)
    order = np.argsort(
        (rows.challenger.argmax(1) == rows.truth).astype(int) - (rows.opponents[CHAMPION].argmax(1) == rows.truth)
    )
    groups = np.empty(400, np.int64)
    groups[order] = np.arange(400) // 20  # what is won is won by few documents
    test = won_and_lost(30, 30, 2000)
    assert judge(test, traffic(rows)).decision is Decision.PROMOTE
    assert judge(test, traffic(dataclasses.replace(rows, groups=groups))).decision is Decision.NOT_ENOUGH_EVIDENCE


@pytest.mark.parametrize("metric", list(Metric))
def test_every_metric_can_be_judged_with_weights(metric: Metric) -> None:
    rng = np.random.default_rng(3)
    weights = recent.weights(rng.choice([0.2, 0.5, 1.0], 600))
    pairs = pairs_of(rng.random(600) < 0.95, rng.random(600) < 0.75, classes=3)
    sure = probabilities(pairs.truth, pairs.challenger.argmax(1) == pairs.truth, 3, 0.95)
    unsure = probabilities(pairs.truth, pairs.opponents[CHAMPION].argmax(1) == pairs.truth, 3, 0.55)
    models = dataclasses.replace(pairs, challenger=sure, opponents={CHAMPION: unsure})
    verdict = judge(won_and_lost(5, 5, 3000), traffic(models, weights), metric=metric, slice_margin=None)
    assert verdict.checks["gain is proven"] is True
    assert (
        judge(won_and_lost(5, 5, 3000), traffic(models.swapped(), weights), metric=metric).decision is Decision.REJECT
    )


def test_where_all_rows_count_alike_the_test_is_the_exact_one() -> None:
    test, rows = won_and_lost(5, 5, 2000), won_and_lost(40, 15, 500)
    plain = judge(test, dataclasses.replace(traffic(rows), weights=None))
    assert judge(test, traffic(rows)) == plain
    assert judge(test, traffic(rows, np.full(500, 1 / 3))).reasons == plain.reasons
    p = stats.binomtest(40, 55, alternative="greater").pvalue
    assert f"p = {p:.2g}" in plain.reasons[1]


def test_of_equal_models_few_are_promoted_although_unsure_rows_were_picked() -> None:
    """Picked where the champion is unsure, and so often wrong: there any other model looks better."""
    rng = np.random.default_rng(17)
    test = won_and_lost(20, 20, 3000)
    promoted, rounds, n = 0, 150, 2000
    for _ in range(rounds):
        champion = rng.random(n) < 0.8
        challenger = np.where(rng.random(n) < 0.6, champion, rng.random(n) < 0.8)
        unsure = np.clip(np.where(champion, 0.15, 0.5) + rng.normal(0, 0.1, n), 0, 1)
        chance = np.clip((0.1 + 2 * unsure) * 300 / (0.1 + 2 * unsure).sum(), 0, 1)
        picked = rng.random(n) < chance
        pairs = traffic(pairs_of(challenger[picked], champion[picked]), recent.weights(chance[picked]))
        assert pairs.challenger.shape[0] > 200
        promoted += judge(test, pairs, slice_margin=None, smallest_gain=0.0).decision is Decision.PROMOTE
    assert promoted <= 9  # 3% of 150 are 4.5: more than 9 have a chance below 2%


def test_pairs_of_another_evaluation_are_refused() -> None:
    test = won_and_lost(5, 5, 200)
    pairs = dataclasses.replace(test, recent=traffic(won_and_lost(5, 5, 100)))
    with pytest.raises(UnfitError, match="100 rows of recent traffic, the evaluation 0"):
        gate.judge(evaluation_of(test), pairs, Gate(), 0)
