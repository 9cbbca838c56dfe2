"""The gate: may this challenger take the champion's place? A pure function of the paired answers and the policy.

* **promote**: it is proven better in the primary metric (exact test of no gain), by at least the smallest
  gain that matters as observed, and it is proven not to harm any guard metric beyond its margin.
* **reject**: surely no gain that matters (upper bound below the smallest gain), or harm to a guard or a slice is shown.
* **not enough evidence**: anything else, with how many more test rows would decide.
* **unchanged**: it answers every test row exactly as the champion does.

Where there is recent labelled traffic enough, in rows and in groups, the gain has to be shown there, on rows that no
model was trained on and that count by how they were picked; on the frozen test rows it is then enough that no loss
beyond a margin is possible.
Guards and slices are judged on the frozen rows all the same. Why: docs/decisions/0009-learning-from-traffic.md.

The proof gets stricter with every challenger to one champion, so that the chance of *ever* promoting a model that is
no better stays below 1 − confidence: look k = 1, 2, 3 … spends 6 / (π² k²) of it, and these shares sum to 1. A
promotion starts a new budget. Why these rules and no others: docs/decisions/0002-the-gate.md.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evertune.evaluation import comparison, reasons
from evertune.evaluation.comparison import Contributions
from evertune.evaluation.paired import CHAMPION, CLASS_SLICE, Pairs
from evertune.evaluation.reasons import TEST, TRAFFIC, Finding, Primary
from evertune.project.options import Gate, Guard, Metric, Retraining
from evertune.records import Decision, Evaluation, UnfitError, Verdict

POWER = 0.8
"""Chance of a decision that "so many more rows would show it" means."""


def spent(confidence: float, looks: int) -> float:
    """Error probability for the next challenger, after ``looks`` were judged against the same champion."""
    return (1 - confidence) * 6 / (math.pi * (looks + 1)) ** 2


def fewest_groups(confidence: float, looks: int) -> int:
    """Groups of rows below which the next challenger can prove no gain: n of them show no p below 2^-n."""
    return math.ceil(-math.log2(spent(confidence, looks)))


def judge(
    evaluation: Evaluation, pairs: Pairs, policy: Gate, looks: int, retraining: Retraining | None = None
) -> Verdict:
    """Judge the challenger by its paired answers. ``looks``: challengers already judged against this champion.

    ``retraining`` says how much labelled traffic a proof on it takes; without it the test rows alone count.
    Without a champion it is judged against the better baseline, by the primary metric alone: a baseline has no
    quality that a guard could defend. Raises :class:`UnfitError` where the pairs are not those of the evaluation.
    """
    _check(evaluation, pairs, looks)
    champion = pairs.opponents.get(CHAMPION)
    if _same_answers(pairs) and (pairs.recent is None or _same_answers(pairs.recent)):
        return _unchanged(len(pairs))
    options = retraining or Retraining()
    traffic, set_aside = (None, ()) if retraining is None else _traffic(pairs, policy, looks, options)
    judged = traffic or pairs
    primary = _primary(judged, policy, looks, TEST if traffic is None else TRAFFIC)
    findings = [] if champion is None else [*_guards(pairs, policy), *_slices(pairs, policy)]
    if traffic is not None:
        findings.insert(0, _frozen(pairs, policy, options.frozen_margin))
    decision = _decide(primary, findings, policy)
    more_rows = _more_rows(primary, policy, looks) if decision is Decision.NOT_ENOUGH_EVIDENCE else None
    return Verdict(
        decision=decision,
        reasons=(
            reasons.figures(primary, judged, policy, looks),
            reasons.because(primary, policy, decision, more_rows),
            *(finding.reason for finding in findings if finding.reason),
            *set_aside,
        ),
        gain=primary.gains.gain,
        interval=(primary.lower, primary.upper),
        opponent=primary.opponent,
        judged_on=primary.judged_on,
        alpha=primary.alpha,
        more_rows=more_rows,
        checks={
            "gain is proven": primary.proven,
            "gain is large enough": primary.gains.gain >= policy.smallest_gain,
            "gain is not ruled out": primary.upper >= policy.smallest_gain,
            **{finding.check: finding.passed for finding in findings},
        },
    )


def _check(evaluation: Evaluation, pairs: Pairs, looks: int) -> None:
    if looks < 0:
        raise ValueError(f"looks is {looks}, which counts challengers: it cannot be negative")
    if not pairs.opponents:
        raise UnfitError(f"The pairs of {evaluation.run_key} hold no champion and no baseline. Judge again.")
    if evaluation.challenger.rows != len(pairs) or (evaluation.champion is None) != (CHAMPION not in pairs.opponents):
        raise UnfitError(
            f"The pairs ({len(pairs)} rows, against {', '.join(pairs.opponents)}) are not those of the evaluation "
            f"({evaluation.challenger.rows} rows). Run the judge step of {evaluation.run_key} again."
        )
    told = 0 if evaluation.recent is None else evaluation.recent.rows
    there = 0 if pairs.recent is None else len(pairs.recent)
    if told != there:
        raise UnfitError(
            f"The pairs have {there} rows of recent traffic, the evaluation {told}. "
            f"Run the judge step of {evaluation.run_key} again."
        )


def _same_answers(pairs: Pairs) -> bool:
    champion = pairs.opponents.get(CHAMPION)
    return champion is not None and np.array_equal(champion, pairs.challenger)


def _traffic(pairs: Pairs, policy: Gate, looks: int, options: Retraining) -> tuple[Pairs | None, tuple[str, ...]]:
    """The recent traffic, where it is as much as a proof on it takes; else why it is not."""
    recent = pairs.recent
    if recent is None or CHAMPION not in recent.opponents:
        return None, ()
    if recent.effective_rows < options.fewest_judged:
        return None, (reasons.too_few_rows(recent, options.fewest_judged),)
    if (groups := len(np.unique(recent.groups))) < (fewest := fewest_groups(policy.confidence, looks)):
        return None, (reasons.too_few_groups(recent, groups, fewest),)
    return recent, ()


def _frozen(pairs: Pairs, policy: Gate, margin: float) -> Finding:
    """What was gained on traffic must not have been lost on the frozen test rows, in the primary metric."""
    gains = comparison.contributions(policy.metric, pairs, pairs.opponents[CHAMPION])
    alpha = 1 - policy.confidence
    return reasons.frozen(policy.metric, margin, gains, *comparison.bounds(gains, alpha, alpha))


def _unchanged(rows: int) -> Verdict:
    return Verdict(
        decision=Decision.UNCHANGED,
        reasons=(f"It answers all {rows:,} test rows exactly as the champion does: there is nothing to promote.",),
        gain=0.0,
        interval=(0.0, 0.0),
        opponent=CHAMPION,
    )


def _primary(pairs: Pairs, policy: Gate, looks: int, judged_on: str) -> Primary:
    metric, opponent = _opponent(pairs, policy.metric)
    alpha = spent(policy.confidence, looks)
    gains = comparison.contributions(metric, pairs, pairs.opponents[opponent])
    lower, _ = comparison.bounds(gains.cautious, alpha, alpha)
    _, upper = comparison.bounds(gains, alpha, 1 - policy.confidence)
    p = comparison.sign_flip(gains.cautious, counts=metric is Metric.ACCURACY and not gains.doubt)
    # The test decides. The bound agrees with it but for whole rows, and is moved to 0 where it would not.
    lower = max(lower, 0.0) if p <= alpha else min(lower, 0.0)
    return Primary(metric, opponent, gains, lower, upper, p, alpha, judged_on)


def _opponent(pairs: Pairs, metric: Metric) -> tuple[Metric, str]:
    """The champion, else the better baseline, and the metric to compare in."""
    if CHAMPION in pairs.opponents:
        return metric, CHAMPION
    if metric is Metric.CALIBRATION_ERROR:
        metric = Metric.ACCURACY  # who always tells the classes' shares is perfectly calibrated and of no use
    gain = {name: comparison.contributions(metric, pairs, there).gain for name, there in pairs.opponents.items()}
    return metric, min(gain, key=lambda name: gain[name])


def _guards(pairs: Pairs, policy: Gate) -> list[Finding]:
    return [_guard(pairs, guard, 1 - policy.confidence) for guard in policy.guards]


def _guard(pairs: Pairs, guard: Guard, alpha: float) -> Finding:
    gains = comparison.contributions(guard.metric, pairs, pairs.opponents[CHAMPION])
    return reasons.guard(guard, gains, *comparison.bounds(gains, alpha, alpha))


def _slices(pairs: Pairs, policy: Gate) -> list[Finding]:
    """Each slice with enough rows. All slices together show false harm with at most 1 − confidence."""
    margin = policy.slice_margin
    if margin is None:
        return []
    parts = [(name, part) for name, part in pairs.slices() if part.sum() >= pairs.min_slice_rows]
    alpha = (1 - policy.confidence) / max(len(parts), 1)
    findings = []
    for name, part in parts:
        metric, gains = _slice(pairs, name, part)
        rows, upper = int(part.sum()), comparison.bounds(gains, alpha, alpha)[1]
        findings.append(reasons.slice_(name, metric, rows, gains.gain, upper=upper, margin=margin))
    return findings


def _slice(pairs: Pairs, name: str, part: NDArray[np.bool_]) -> tuple[Metric, Contributions]:
    """What a slice is judged by: accuracy, but a class by its F1.

    Accuracy on the rows of a class is its recall, which falls whenever a model gives that answer less often, also
    where it is right to: the champion that says "negative" too readily would veto every better balanced one.
    """
    column, value = name.split("=", 1)
    if column != CLASS_SLICE:
        return Metric.ACCURACY, comparison.contributions(Metric.ACCURACY, pairs, pairs.opponents[CHAMPION], part)
    of_class = pairs.labels.index(value)
    return Metric.F1, comparison.contributions(Metric.F1, pairs, pairs.opponents[CHAMPION], of_class=of_class)


def _decide(primary: Primary, findings: list[Finding], policy: Gate) -> Decision:
    if primary.upper < policy.smallest_gain or any(finding.harmed for finding in findings):
        return Decision.REJECT
    if primary.proven and primary.gains.gain >= policy.smallest_gain and all(finding.passed for finding in findings):
        return Decision.PROMOTE
    return Decision.NOT_ENOUGH_EVIDENCE


def _more_rows(primary: Primary, policy: Gate, looks: int) -> int | None:
    """Test rows to add so that the next look decides with 80% chance, were the true gain what was observed.

    A gain large enough is to be proven; below that, either the smallest that matters is to be proven or to be ruled
    out, whichever takes fewer. ``None`` where neither can be, or the gain is proven and something else is missing.
    """
    gains, smallest, power = primary.gains, policy.smallest_gain, comparison.quantile(1 - POWER)
    distances = []
    if max(gains.gain, smallest) > 0 and not primary.proven:
        strict = comparison.quantile(spent(policy.confidence, looks + 1))
        distances.append(max(gains.gain, smallest) / (strict + power))
    if gains.gain < smallest and not primary.proven:
        distances.append((smallest - gains.gain) / (comparison.quantile(1 - policy.confidence) + power))
    if not distances:
        return None
    variance = max(gains.variance, 1 / gains.rows)
    groups = fewest_groups(policy.confidence, looks + 1) / len(gains.each)  # new rows come in groups as large as these
    rows = max(variance / max(distances) ** 2, gains.rows * groups)
    return max(math.ceil(rows) - gains.rows, 1)
