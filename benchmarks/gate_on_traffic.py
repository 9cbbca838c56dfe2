"""How often a proof on labelled traffic is false where people were asked about what the champion is unsure of.

Two models that are equally good answer made-up traffic. Rows are picked with known chances that rise with the
champion's uncertainty, and so where it is wrong: there the challenger looks better, and few rows of great weight make
up for it.
On the same draws, at the error probability of the first look (3.04%):

* plain: picked rows as if all counted alike, accuracy by McNemar's exact test;
* flips: weighted by 1 / chance, the sign-flip test as it is;
* thinned: rows left out by chance until the others' chances lie within a factor of 2, then the same test;
* gate: the sign-flip test with one more loss of the heaviest row, as `evertune.evaluation.gate` does it.

And with a challenger that is truly 6 points better, how often each finds out.

Run it: `python -m benchmarks.gate_on_traffic` (`--draws 100` for a glance).
"""

from __future__ import annotations

import argparse
import sys
import time
from typing import NamedTuple

import numpy as np
from benchmarks._machine import describe
from numpy.typing import NDArray

from evertune.data import recent
from evertune.evaluation import comparison, gate
from evertune.evaluation.paired import CHAMPION, Pairs
from evertune.project.options import Metric

ALPHA = gate.spent(0.95, 0)
RULES = ("plain", "flips", "thinned", "gate")
Floats = NDArray[np.float64]
Right = NDArray[np.bool_]


class Case(NamedTuple):
    """A design of picking."""

    rows: int
    picked: int
    least: float
    """Chance that no row goes below; 0: chances in proportion to 0.1 + twice the uncertainty."""


CASES = (
    Case(2_000, 300, 0.02),
    Case(20_000, 300, 0.002),
    Case(2_000, 300, 0),
    Case(2_000, 600, 0),
    Case(5_000, 1_500, 0),
)


def traffic(rng: np.random.Generator, rows: int, gain: float) -> tuple[Right, Right, Floats]:
    """Where challenger and champion are right, and how unsure the champion is."""
    ease = np.clip(0.5 + 0.5 * rng.beta(3, 1, rows) + rng.normal(0, 0.1, rows), 0.5, 1)
    champion = rng.random(rows) < ease
    challenger = np.where(rng.random(rows) < 0.6, champion, rng.random(rows) < ease)
    challenger |= rng.random(rows) < gain / (1 - challenger.mean())
    sure = np.clip(ease + np.where(champion, 0.08, -0.15) + rng.normal(0, 0.05, rows), 0.5, 1)
    return challenger, champion, 1 - sure


def chances(case: Case, unsure: Floats) -> Floats:
    """With what chance each row is picked."""
    use = unsure if case.least else 0.1 + 2 * unsure
    return np.asarray(np.clip(use / use.sum() * case.picked, case.least, 1))


def p_value(ours: Right, theirs: Right, weights: Floats | None, *, cautious: bool) -> float:
    """Of "no gain in accuracy"."""
    truth = np.zeros(len(ours), np.int64)
    answers = [np.stack([right, ~right], axis=1).astype(np.float32) for right in (ours, theirs)]
    ids = [str(row) for row in range(len(ours))]
    pairs = Pairs(ids, ("a", "b"), truth, answers[0], {CHAMPION: answers[1]}, np.arange(len(ours)), weights=weights)
    gains = comparison.contributions(Metric.ACCURACY, pairs, answers[1])
    return comparison.sign_flip(gains.cautious if cautious else gains, counts=weights is None)


def proven(case: Case, gain: float, rng: np.random.Generator) -> NDArray[np.bool_]:
    """Which rules find a gain in one draw."""
    ours, theirs, unsure = traffic(rng, case.rows, gain)
    chance = chances(case, unsure)
    picked = rng.random(case.rows) < chance
    ours, theirs, chance = ours[picked], theirs[picked], chance[picked]
    weights = recent.weights(chance)
    most = 2 * chance.min()
    kept = rng.random(len(chance)) < most / np.maximum(chance, most)
    found = (
        p_value(ours, theirs, None, cautious=False),
        p_value(ours, theirs, weights, cautious=False),
        p_value(ours[kept], theirs[kept], recent.weights(np.minimum(chance, most)[kept]), cautious=False),
        p_value(ours, theirs, weights, cautious=True),
    )
    return np.array(found) <= ALPHA


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--draws", type=int, default=1_000, help="draws of each case")
    draws, start = options.parse_args().draws, time.perf_counter()
    print(describe("numpy"))
    print(f"\n| rows | picked | chances from | true gain | {' | '.join(RULES)} |\n|{'---|' * (4 + len(RULES))}")
    worst = 0.0
    for gain in (0.0, 0.06):
        for case in CASES:
            rng = np.random.default_rng(17)
            shares = np.mean([proven(case, gain, rng) for _ in range(draws)], axis=0)
            cells = " | ".join(f"{100 * share:.1f}%" for share in shares)
            print(
                f"| {case.rows:,} | {case.picked} | {case.least or 'use'} | {100 * gain:.0f} points | {cells} |",
                flush=True,
            )
            worst = max(worst, 0.0 if gain else float(shares[-1]))
    print(f"\n{draws:,} draws each, {time.perf_counter() - start:.0f} s. False proofs of the gate: at most "
          f"{100 * worst:.1f}%, {100 * ALPHA:.1f}% are allowed.")  # fmt: skip
    return 0 if worst <= ALPHA else 1


if __name__ == "__main__":
    sys.exit(main())
