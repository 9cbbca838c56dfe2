"""What the gate found, and the sentences that tell it to a person: the numbers first, then what follows from them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evertune.evaluation import metrics
from evertune.evaluation.comparison import Contributions
from evertune.evaluation.paired import CHAMPION, MAJORITY, UNTUNED, Pairs
from evertune.project.options import Gate, Guard, Metric
from evertune.records import Decision

NAMES = {
    Metric.ACCURACY: "accuracy",
    Metric.F1: "macro F1",
    Metric.PRECISION: "macro precision",
    Metric.RECALL: "macro recall",
    Metric.CALIBRATION_ERROR: "calibration error",
    Metric.LOG_LOSS: "log loss",
}
TEST, TRAFFIC = "test", "traffic"
ROWS = {TEST: "test rows", TRAFFIC: "labelled rows of traffic"}
OPPONENTS = {CHAMPION: "the champion", MAJORITY: "always the commonest class", UNTUNED: "the untuned base model"}


FROZEN = "no loss on the frozen test rows"
"""Name of that check."""


@dataclass(frozen=True, eq=False)
class Primary:
    """The comparison in the primary metric."""

    metric: Metric
    opponent: str
    """``champion``, or the baseline that stands in for it."""
    gains: Contributions
    lower: float
    """The true gain is less with at most probability ``alpha``."""
    upper: float
    """The true gain is more with at most 1 − the policy's confidence."""
    p: float
    """Of the test of no gain, one-sided."""
    alpha: float
    """Error probability that this look may spend."""
    judged_on: str = TEST
    """:data:`TEST` or :data:`TRAFFIC`."""

    @property
    def proven(self) -> bool:
        """Whether the challenger is better at all."""
        return self.p <= self.alpha


@dataclass(frozen=True)
class Finding:
    """What was found of one guard or slice."""

    check: str
    passed: bool
    harmed: bool
    """Harm is shown. Neither passed nor harmed: there is too little evidence."""
    reason: str = ""
    """Empty where all is well."""


def size(metric: Metric, difference: float) -> str:
    """A difference without its sign: points of a share, a plain number for log loss."""
    amount = abs(difference)
    return f"{amount:.3f}" if metric is Metric.LOG_LOSS else f"{100 * amount:.1f} points"


def signed(metric: Metric, difference: float) -> str:
    """The same with its sign."""
    return ("+" if difference >= 0 else "−") + size(metric, difference)


def figures(primary: Primary, pairs: Pairs, policy: Gate, looks: int) -> str:
    """Both models' values, the gain and its bounds."""
    metric, opponent = primary.metric, pairs.opponents[primary.opponent]
    ours, theirs = (_value(metric, pairs, answers) for answers in (pairs.challenger, opponent))
    right, other_right = (answers.argmax(axis=1) == pairs.truth for answers in (pairs.challenger, opponent))
    won, lost = int((right & ~other_right).sum()), int((other_right & ~right).sum())
    gain, at_least, at_most = (
        signed(metric, primary.gains.gain),
        signed(metric, primary.lower),
        signed(metric, primary.upper),
    )
    again = f" It is challenger {looks + 1} to the same opponent." if looks else ""
    return (
        f"{NAMES[metric][0].upper()}{NAMES[metric][1:]} {ours} against {theirs} of {OPPONENTS[primary.opponent]}, on "
        f"{_rows(primary.judged_on, pairs)} ({won:,} won, {lost:,} lost): a gain of {gain}, "
        f"at least {at_least} with {100 * (1 - primary.alpha):.4g}% confidence "
        f"and at most {at_most} with {100 * policy.confidence:.4g}%.{again}"
    )


def _rows(judged_on: str, pairs: Pairs) -> str:
    told = f"{len(pairs):,} {ROWS[judged_on]}"
    effective = round(pairs.effective_rows)
    return told if effective == len(pairs) else f"{told}, weighted by how they were picked and worth {effective:,}"


def too_few_rows(recent: Pairs, fewest: int) -> str:
    """Why recent traffic judges nothing."""
    return f"{_set_aside(recent)}: a proof on them takes {fewest:,}."


def too_few_groups(recent: Pairs, groups: int, fewest: int) -> str:
    """The same where many rows belong together."""
    return (
        f"{_set_aside(recent)}: they are of {groups} group{'s' * (groups != 1)} (documents, customers), and on "
        f"fewer than {fewest} no gain can be proven."
    )


def _set_aside(recent: Pairs) -> str:
    return f"The {_rows(TRAFFIC, recent)} are set aside"


def _value(metric: Metric, pairs: Pairs, answers: NDArray[np.float32]) -> str:
    heavy = np.ones(len(pairs)) if pairs.weights is None else pairs.weights
    totals = (metrics.features(metric, pairs.truth, answers) * heavy[:, None]).sum(axis=0)
    value = float(metrics.value(metric, totals, float(heavy.sum()), float(heavy.min())))
    return f"{value:.3f}" if metric is Metric.LOG_LOSS else f"{100 * value:.1f}%"


def because(primary: Primary, policy: Gate, decision: Decision, more_rows: int | None) -> str:
    """What follows from the primary metric alone."""
    smallest, odds = size(primary.metric, policy.smallest_gain), f"p = {primary.p:.2g}, {primary.alpha:.2g} is allowed"
    enough = primary.gains.gain >= policy.smallest_gain
    if decision is Decision.PROMOTE:
        return f"The gain is proven ({odds}) and large enough (at least {smallest})."
    if primary.upper < policy.smallest_gain:
        return f"A gain of {smallest}, the smallest that matters, is ruled out."
    if primary.proven and enough:
        return f"The gain is proven ({odds}), but it is not all that counts."
    told = (
        "That it is better at all is not proven" if not primary.proven else "It is better, but hardly enough to matter"
    )
    if more_rows is None:
        return f"{told} ({odds})."
    return f"{told} ({odds}). About {_round(more_rows):,} more {ROWS[primary.judged_on]} would probably decide."


def _round(rows: int) -> int:
    # Two digits: more would claim a certainty that an estimate from one test set does not have.
    return round(rows, 2 - len(str(rows)))


def guard(guard: Guard, gains: Contributions, lower: float, upper: float) -> Finding:
    """Non-inferiority: passed where a loss beyond the margin is ruled out, harmed where it is shown."""
    name, margin, check = NAMES[guard.metric], size(guard.metric, guard.margin), f"guard {guard.metric.value}"
    change = f"Guard: {name} {'worsens' if gains.gain < 0 else 'improves'} by {size(guard.metric, gains.gain)}"
    if upper < -guard.margin:
        return Finding(check, False, True, f"{change}, surely by more than the {margin} that are allowed.")
    if lower < -guard.margin:
        loss = size(guard.metric, lower)
        return Finding(check, False, False, f"{change}; a loss of {loss} is not ruled out, and {margin} are allowed.")
    return Finding(check, True, False)


def frozen(metric: Metric, margin: float, gains: Contributions, lower: float, upper: float) -> Finding:
    """On the frozen test rows a gain on traffic may cost something, but not more than the margin."""
    name, allowed = NAMES[metric], size(metric, margin)
    change = (
        f"On the {gains.rows:,} frozen test rows {name} {'worsens' if gains.gain < 0 else 'improves'} by "
        f"{size(metric, gains.gain)}"
    )
    if upper < -margin:
        return Finding(
            FROZEN, False, True, f"{change}, surely by more than the {allowed} that a gain on traffic may cost."
        )
    if lower < -margin:
        loss = size(metric, lower)
        return Finding(FROZEN, False, False, f"{change}; a loss of {loss} is not ruled out, and {allowed} are allowed.")
    return Finding(FROZEN, True, False, f"{change}; a loss of more than {allowed} is ruled out.")


def slice_(name: str, metric: Metric, rows: int, gain: float, *, upper: float, margin: float) -> Finding:
    """A slice fails only where harm beyond the margin is shown."""
    if upper >= -margin:
        return Finding(f"slice {name}", True, False)
    told = "its F1" if metric is Metric.F1 else NAMES[metric]
    loss, allowed = size(metric, gain), size(metric, margin)
    reason = f"Slice {name} ({rows:,} rows): {told} falls by {loss}, surely by more than the {allowed} allowed."
    return Finding(f"slice {name}", False, True, reason)
