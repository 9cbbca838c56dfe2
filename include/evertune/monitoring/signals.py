"""The signals: what of the answers each compares, how large the change is, and how likely without a drift.

A signal that cannot be tested (no rows, no labels, nothing in the reference) gives :data:`~.twosample.NOTHING`: that is
no alarm, and no all-clear either.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from evertune.monitoring import features
from evertune.monitoring.reference import BINS, Reference, bins
from evertune.monitoring.samples import Floats, Ints, Sample
from evertune.monitoring.twosample import (
    NOTHING,
    ODD,
    PERMUTATIONS,
    Z_ODD,
    Known,
    Tested,
    counts_differ,
    less_chance,
    means_differ,
    memberships,
    p_value,
    share_rises,
)

FEWEST = 2
"""Rows of traffic, and of the reference, below which nothing is tested."""
FEWEST_FOR_MEANS = 20
"""The same for embeddings and for F1, whose chances are of sums of many rows."""
LOW = 0.10
"""Share of the reference's answers that count as unsure."""


def embedding(reference: Reference, traffic: Sample, rng: np.random.Generator) -> Tested:
    """Whether the texts are others, by the model's embeddings of them."""
    new = traffic.embeddings[features.usable(traffic.embeddings)]
    known = reference.embeddings[features.usable(reference.embeddings)]
    if min(len(new), len(known)) < FEWEST_FOR_MEANS or new.shape[1] != known.shape[1]:
        return NOTHING
    rows = [features.of(each, reference.seed) for each in (known, new)]
    return means_differ(Known(rows[0], reference.mean, reference.embedded), rows[1], rng)


def output(reference: Reference, traffic: Sample, smallest: float, rng: np.random.Generator) -> Tested:
    """Whether the probabilities are others: the largest distance of Kolmogorov and Smirnov over the classes."""
    new, known = bins(_numbers(traffic).scores), bins(_numbers(reference.kept).scores)
    rows, kept, classes = len(new), len(known), len(reference.labels)
    if min(rows, kept) < FEWEST or classes < 2:
        return NOTHING
    columns = range(1 if classes == 2 else classes)  # of two classes, one tells of the other
    given = [_rising(reference.histograms[c]) - _rising(np.bincount(new[:, c], minlength=BINS)) for c in columns]
    largest = float(np.abs(given).max())
    permuted = _permuted_gaps(np.concatenate([known, new])[:, columns], rows, rng)
    tail = _kolmogorov(largest, len(columns), 1 / (1 / rows + 1 / reference.rows))
    # What is permuted are the rows kept; the distance is to all rows, whose sampling error is smaller.
    scale = math.sqrt((1 / rows + 1 / kept) / (1 / rows + 1 / reference.rows))
    p = p_value(largest * scale, permuted, tail)
    allowed = max(math.sqrt(math.log(2 * len(columns) / ODD) / (2 * reference.rows)), smallest / 2)
    beyond = _kolmogorov(max(largest - allowed, 0.0), len(columns), rows)
    return Tested(rows, less_chance(largest, float(permuted.mean()) / scale), p, beyond)


def low_confidence(reference: Reference, traffic: Sample, smallest: float) -> Tested:
    """Whether more answers are unsure than a tenth."""
    new = bins(_numbers(traffic).confidence)
    if min(len(new), reference.rows) < FEWEST:
        return NOTHING
    below = np.cumsum(reference.confidences)
    edge = int(np.abs(below / reference.rows - LOW).argmin())
    hits = int((new <= edge).sum())
    p, given = share_rises(hits, len(new), int(below[edge]), reference.rows, smallest)
    return Tested(len(new), hits / len(new) - below[edge] / reference.rows, p, given)


def label_mix(reference: Reference, traffic: Sample, smallest: float, rng: np.random.Generator) -> Tested:
    """Whether the labels are answered in other shares."""
    new = np.bincount(_numbers(traffic).predicted, minlength=len(reference.labels))
    if min(new.sum(), reference.rows) < FEWEST:
        return NOTHING
    return counts_differ(reference.predicted_counts, new, smallest, rng)


def errors(reference: Reference, labelled: Sample, smallest: float) -> Tested:
    """Whether more answers are wrong, rows weighted by how they were picked."""
    rows = _numbers(labelled.labelled)
    known = int(reference.confusion.sum())
    if min(len(rows), known) < FEWEST:
        return NOTHING
    wrong, weights = rows.predicted != rows.truth, rows.weights
    share, worth = float(weights @ wrong / weights.sum()), effective(weights)
    before = known - int(np.trace(reference.confusion))
    p, given = share_rises(share * worth, worth, before, known, smallest)
    return Tested(len(rows), share - before / known, p, given)


def f1(reference: Reference, labelled: Sample, smallest: float, rng: np.random.Generator) -> Tested:
    """Whether macro F1 has fallen, rows weighted by how they were picked."""
    from scipy import stats

    rows, known = _numbers(labelled.labelled), reference.confusion
    classes, count = len(known), int(known.sum())
    worth = effective(rows.weights) if len(rows) else 0.0
    if worth < FEWEST_FOR_MEANS or count < FEWEST_FOR_MEANS:
        return NOTHING
    cells = rows.truth * classes + rows.predicted
    share = np.bincount(cells, rows.weights, minlength=classes**2).reshape(classes, classes) / rows.weights.sum()
    there = (known.sum(axis=1) > 0) & (share.sum(axis=1) > 0)
    if not there.any():
        return NOTHING
    fall = float(_fall(known[None], share[None])[0])
    # Few rows of a class make F1 small by themselves: as many rows of both, at random, say by how much.
    pooled = known + np.rint(share * worth).astype(np.int64)
    drawn = rng.multivariate_hypergeometric(pooled.ravel(), int(worth), size=PERMUTATIONS, method="marginals")
    parts = drawn.reshape(-1, classes, classes)
    permuted = _fall(pooled - parts, parts)
    bias, spread = float(permuted.mean()), max(float(permuted.std()), 1e-6)
    ours = spread * math.sqrt(count / (count + worth))  # the part of it that is traffic's own
    theirs = spread * math.sqrt(worth / (count + worth))
    tail = float(stats.t.sf((fall - bias) / spread, worth - 1))
    beyond = fall - bias - max(Z_ODD * theirs, smallest / 2)
    return Tested(
        len(rows), fall - bias, p_value(fall, permuted, tail), float(stats.t.sf(beyond / ours, worth - 1))
    )  # fmt: skip


def effective(weights: Floats) -> float:
    """As many rows of equal weight tell as much (Kish)."""
    return float(weights.sum() ** 2 / (weights**2).sum())


def _fall(before: NDArray[np.number], after: NDArray[np.number]) -> Floats:
    """``[n]``: how much smaller macro F1 is ``after``, over the classes that both have rows of.

    Confusions are ``[n, classes, classes]``, by truth and answer.
    """
    there = (before.sum(axis=2) > 0) & (after.sum(axis=2) > 0)
    gaps = np.where(there, _f1_scores(before) - _f1_scores(after), 0.0)
    return np.asarray(gaps.sum(axis=1) / np.maximum(there.sum(axis=1), 1))


def _f1_scores(confusions: NDArray[np.number]) -> Floats:
    both = confusions.sum(axis=1) + confusions.sum(axis=2)
    hits = 2.0 * np.diagonal(confusions, axis1=1, axis2=2)
    return np.asarray(np.divide(hits, both, out=np.zeros(hits.shape), where=both > 0))


def _numbers(sample: Sample) -> Sample:
    there = np.isfinite(sample.scores).all(axis=1)
    return sample if there.all() else sample.take(np.flatnonzero(there))


def _rising(histogram: Ints) -> Floats:
    return np.asarray(np.cumsum(histogram) / max(histogram.sum(), 1))


def _permuted_gaps(values: Ints, picked: int, rng: np.random.Generator) -> Floats:
    # The distance for rows put on either side at random: with rows sorted, both distributions are running sums.
    rows = len(values)
    sides = memberships(rng, rows, picked)
    steps = sides / np.float32(picked) - (1 - sides) / np.float32(rows - picked)
    found = np.zeros(len(sides))
    for column in values.T:
        order = np.argsort(column, kind="stable")
        last = np.flatnonzero(np.diff(column[order], append=BINS))
        gaps = np.abs(np.cumsum(steps[:, order], axis=1)[:, last]).max(axis=1)
        np.maximum(found, gaps, out=found)
    return found


def _kolmogorov(gap: float, columns: int, rows: float) -> float:
    # Massart's bound, for the largest of several.
    return min(2 * columns * math.exp(-2 * rows * gap**2), 1.0)
