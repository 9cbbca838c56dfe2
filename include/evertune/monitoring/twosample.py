"""Whether two sets of rows come from one distribution: the tests behind the signals.

Each gives two chances of what was seen. ``p`` is of the comparison as it stands, both sides being samples. ``given`` is
the chance for traffic that differs from the reference by no more than the reference's own sampling error and a
tolerated change. Only the second may be multiplied over many windows: the reference is the same in all of them, and
what is odd about it would count as evidence again and again (see docs/decisions/0008-drift.md).
"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.monitoring.samples import Floats, Ints

PERMUTATIONS = 300
ODD = 0.01
"""Chance with which a reference is odder than is allowed for: in so many releases, not windows, a signal's ``given`` is
too small."""
Z_ODD = 2.326
"""What a standard normal exceeds with this chance."""
RIDGES = (10.0, 0.1)
"""Directions of the features count by their variance v, relative to the largest, as 1 / (v + ridge): the first is
nearly a plain comparison of means and sees a move to another domain, the second new topics among many known ones."""
Rows = NDArray[np.float32]


class Tested(NamedTuple):
    """What a test says."""

    rows: int
    """Of traffic."""
    effect: float
    p: float
    given: float


NOTHING = Tested(0, 0.0, 1.0, 1.0)
"""Of rows that cannot be tested."""


def p_value(observed: float, permuted: Floats, tail: float) -> float:
    """Permutation p-value; ``tail`` where that lies below what so few permutations can show."""
    smallest = 1 / (len(permuted) + 1)
    if tail < smallest:
        return tail
    return float(np.sum(permuted >= observed - 1e-9 * abs(observed)) + 1) * smallest


def memberships(rng: np.random.Generator, rows: int, picked: int, repeats: int | None = None) -> Rows:
    """``[repeats, rows]``: 1 for ``picked`` rows at random, 0 for the others."""
    found = np.zeros((repeats or PERMUTATIONS, rows), np.float32)
    for each in found:
        each[rng.choice(rows, picked, replace=False, shuffle=False)] = 1
    return found


# -- quadratic forms


def quadratic_tails(values: Floats, cumulants: tuple[float, float, float]) -> Floats:
    """Chances that a sum of weighted χ² with these cumulants is larger: Pearson's type III with the same three."""
    from scipy import stats

    mean, variance, third = cumulants
    if variance <= 0:
        return np.ones(len(values))
    shape = 4 / (third / variance**1.5) ** 2
    return np.asarray(stats.gamma.sf(shape + (values - mean) / math.sqrt(variance) * math.sqrt(shape), shape))


def quadratic_tail(value: float, cumulants: tuple[float, float, float]) -> float:
    """The same for one value."""
    return float(quadratic_tails(np.array([value]), cumulants)[0])


def central(spectrum: Floats, scale: float = 1.0) -> tuple[float, float, float]:
    """Cumulants of ``scale`` × the sum of squares of normal values with these variances."""
    return (
        scale * float(spectrum.sum()),
        2 * scale**2 * float((spectrum**2).sum()),
        8 * scale**3 * float((spectrum**3).sum()),
    )


def upper(spectrum: Floats) -> float:
    """What such a sum exceeds with chance ``ODD``."""
    from scipy import stats

    mean, variance, third = central(spectrum)
    if variance <= 0:
        return mean
    shape = 4 / (third / variance**1.5) ** 2
    return float(mean + math.sqrt(variance) * (stats.gamma.isf(ODD, shape) - shape) / math.sqrt(shape))


def quadratic_given(distance: float, spectrum: Floats, rows: int, known: int, tolerated: float = 0.0) -> float:
    """Chance of at least this squared distance between the means of ``rows`` new rows and of a reference of ``known``.

    The true means may lie as far apart as the reference's sampling error goes, and by ``tolerated`` (squared) more.
    """
    top = float(spectrum.max(initial=0.0))
    cross = 2 * Z_ODD * math.sqrt(top * tolerated / known)
    apart = upper(spectrum) / known + tolerated + cross
    second = upper(spectrum**2) / known + top * (tolerated + cross)
    third = upper(spectrum**3) / known + top**2 * (tolerated + cross)
    noise = central(spectrum, 1 / rows)
    cumulants = (noise[0] + apart, noise[1] + 4 * second / rows, noise[2] + 24 * third / rows**2)
    return quadratic_tail(distance, cumulants)


class Known(NamedTuple):
    """Features of the reference."""

    rows: Rows
    """``[k, d]``: of the rows that are kept."""
    mean: Floats
    """``[d]``: of all rows."""
    total: int
    """All rows."""


def means_differ(reference: Known, new: Rows, rng: np.random.Generator) -> Tested:
    """Compare mean features, each direction by its variance (a spectrally regularised kernel two-sample test).

    The effect is :func:`unlike`'s.
    """
    known, mean, count = reference
    rows, kept = len(new), len(known)
    centre = (known.sum(axis=0) + new.sum(axis=0)) / (rows + kept)
    pooled = np.concatenate([known, new]) - centre
    values, vectors = np.linalg.eigh((pooled.T @ pooled).astype(np.float64) / (rows + kept))
    top = float(values[-1])
    if top <= 1e-9:  # all rows are the same
        return Tested(rows, 0.0, 1.0, 1.0)
    turned = np.asarray(pooled @ (vectors / math.sqrt(top)).astype(np.float32))
    gaps = turned[kept:].mean(axis=0) - (mean - centre) @ vectors / math.sqrt(top)
    sums = memberships(rng, rows + kept, rows) @ turned
    weighed = [_weigh(np.clip(values / top, 0, None), ridge, gaps, sums) for ridge in RIDGES]
    tails, drawn, given = [], [], []
    for spectrum, distance, permuted in weighed:
        observed = distance / (1 / rows + 1 / count)
        tails.append(quadratic_tail(observed, central(spectrum)))
        drawn.append(quadratic_tails(permuted * (1 / rows + 1 / kept), central(spectrum)))
        given.append(quadratic_given(distance, spectrum, rows, count))
    best = int(np.argmin(tails))
    p = p_value(-tails[best], -np.min(drawn, axis=0), len(RIDGES) * tails[best])
    white = np.asarray(turned / np.sqrt(np.clip(values / top, 0, None) + RIDGES[best]), np.float32)
    return Tested(rows, unlike(white[:kept], white[kept:], rng), p, min(len(RIDGES) * min(given), 1.0))


def _weigh(shares: Floats, ridge: float, gaps: Floats, sums: Rows) -> tuple[Floats, float, Floats]:
    # The variances that are left, the squared distance, and the squared lengths of the permuted sums.
    weights = 1 / (shares + ridge)
    return shares * weights, float(weights @ gaps**2), np.asarray(sums.astype(np.float64) ** 2 @ weights)


def unlike(known: Rows, new: Rows, rng: np.random.Generator, folds: int = 5) -> float:
    """Share of the new rows that are unlike the known ones, as far as a linear function tells them apart.

    It is the largest gap between the distributions of the function on rows that it was not made from, less what
    chance alone gives.
    """
    parts = [rng.permutation(len(rows)) % folds for rows in (known, new)]
    found: tuple[list[Rows], list[Rows]] = ([], [])
    for fold in range(folds):
        inside = [part != fold for part in parts]
        if not all(where.any() and not where.all() for where in inside):
            return 0.0
        direction = new[inside[1]].mean(axis=0) - known[inside[0]].mean(axis=0)
        direction /= max(float(np.linalg.norm(direction)), 1e-12)
        for scores, rows, where in zip(found, (known, new), inside, strict=True):
            scores.append(rows[~where] @ direction)
    before, after = (np.sort(np.concatenate(scores)) for scores in found)
    at = np.concatenate([before, after])
    gaps = np.searchsorted(before, at, side="right") / len(before)
    gaps -= np.searchsorted(after, at, side="right") / len(after)
    return less_chance(float(gaps.max()), math.sqrt(math.pi / 8) * math.sqrt(1 / len(before) + 1 / len(after)))


def less_chance(size: float, by_chance: float) -> float:
    """An effect without what chance alone gives it: the two add up as squares do."""
    return math.sqrt(max(size**2 - by_chance**2, 0.0))


# -- shares


def share_rises(hits: float, rows: float, known_hits: int, known: int, smallest: float) -> tuple[float, float]:
    """``p`` and ``given`` for a share that was ``known_hits / known`` (Fisher's exact test; Clopper and Pearson).

    ``hits`` and ``rows`` need not be whole: weighted rows count as so many.
    """
    from scipy import stats

    whole, picked = math.floor(hits + 1e-9), math.floor(rows + 1e-9)
    p = float(stats.hypergeom.sf(whole - 1, known + picked, known_hits + whole, picked))
    bound = float(stats.beta.isf(ODD, known_hits + 1, known - known_hits)) if known_hits < known else 1.0
    allowed = min(max(bound, known_hits / known + smallest / 2), 1.0)
    given = float(stats.beta.cdf(allowed, hits, max(rows - hits, 0) + 1)) if hits > 0 else 1.0
    return p, given


# -- counts


def counts_differ(
    known: Ints, new: Ints, smallest: float, rng: np.random.Generator, repeats: int = PERMUTATIONS
) -> Tested:
    """Compare counts of classes by Pearson's χ²; the effect is the total variation distance, less what chance gives."""
    from scipy import stats

    rows, count = int(new.sum()), int(known.sum())
    there = (known + new) > 0
    known, new = known[there], new[there]
    pooled = known + new
    drawn = rng.multivariate_hypergeometric(pooled, rows, size=repeats, method="marginals")
    chance = np.abs(drawn / rows - (pooled - drawn) / count).sum(axis=1) / 2
    effect = less_chance(float(np.abs(new / rows - known / count).sum() / 2), float(chance.mean()))
    merged = _merge_rare(pooled, rows)
    shares = np.bincount(merged, pooled) / (rows + count)
    if len(shares) < 2:
        return Tested(rows, effect, 1.0, 1.0)

    def distance(these: Floats) -> float:
        gaps = np.bincount(merged, these / rows) - np.bincount(merged, (pooled - these) / count)
        return float((gaps**2 / shares).sum())

    apart, scale = distance(new.astype(np.float64)), 1 / rows + 1 / count
    permuted = np.array([distance(each) for each in drawn.astype(np.float64)])
    p = p_value(apart, permuted, float(stats.chi2.sf(apart / scale, len(shares) - 1)))
    return Tested(rows, effect, p, quadratic_given(apart, np.ones(len(shares) - 1), rows, count, smallest**2))


def _merge_rare(pooled: Ints, rows: int, fewest: float = 5.0) -> Ints:
    # The class that each class is counted as: those that a window would have fewer than five of are one.
    common = pooled * (rows / pooled.sum()) >= fewest
    rest = 0 if common.all() else 1
    found = np.zeros(len(pooled), np.int64)
    found[common] = np.arange(common.sum()) + rest
    return found
