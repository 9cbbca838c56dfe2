"""The metrics, each as a function of sums over rows.

A metric here is two pieces: ``features`` turns each row into a few numbers, ``value`` turns their sum into the metric.
So the metric of any part of the rows, with a document left out or one counted twice, costs a subtraction and not
another pass over the rows. That is what the paired comparisons live on, and it means that the gate judges the very
numbers that the report shows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from evertune.project.options import Metric
from evertune.records import ClassScores, Scores, UnfitError

BINS = 15
"""Bins of confidence in the calibration error (Guo et al. 2017, arXiv 1706.04599)."""
SMALLEST_PROBABILITY = float(np.finfo(np.float32).eps)
"""Probabilities are clipped to this before the logarithm, as scikit-learn does with 32-bit floats: a class that a
model holds for impossible costs 15.9 nats, not infinity."""

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
LESS_IS_BETTER = frozenset({Metric.CALIBRATION_ERROR, Metric.LOG_LOSS})


def features(metric: Metric, truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> Floats:
    """What each row adds: ``[rows, k]`` with k = 1 (accuracy, log loss), 15 (calibration) or 3 × classes (the rest)."""
    rows, classes = probabilities.shape
    answer = probabilities.argmax(axis=1)
    if metric is Metric.ACCURACY:
        return np.asarray(answer == truth, np.float64)[:, None]
    if metric is Metric.LOG_LOSS:
        given = probabilities[np.arange(rows), truth].astype(np.float64)
        return np.asarray(-np.log(np.clip(given, SMALLEST_PROBABILITY, 1.0)))[:, None]
    if metric is Metric.CALIBRATION_ERROR:
        confidence = probabilities.max(axis=1).astype(np.float64)
        gaps = np.zeros((rows, BINS))
        gaps[np.arange(rows), _bins(confidence)] = (answer == truth) - confidence
        return gaps
    told, true = np.eye(classes)[answer], np.eye(classes)[truth]
    return np.hstack([told * true, told, true])


def columns_of(class_: int, classes: int) -> list[int]:
    """Which :func:`features` of F1, precision and recall belong to one class; their value is that class's own."""
    return [class_, classes + class_, 2 * classes + class_]


def _bins(confidence: Floats) -> Ints:
    # Bin i holds i/15 < confidence <= (i+1)/15.
    return np.clip(np.ceil(confidence * BINS).astype(np.int64) - 1, 0, BINS - 1)


def value(metric: Metric, totals: Floats, rows: Floats | float, least: float = 1.0) -> Floats:
    """The metric for sums of features: ``totals [..., k]`` of ``rows [...]`` rows each; shape ``[...]``.

    Macro averages go over the classes that occur among the rows or the answers, as scikit-learn's do; a score of
    0 / 0 is 0. Where rows have weights, sums are weighted, ``rows`` is the sum of the weights and ``least`` the
    smallest of them.
    """
    if metric in (Metric.ACCURACY, Metric.LOG_LOSS):
        return np.asarray(totals[..., 0] / rows)
    if metric is Metric.CALIBRATION_ERROR:
        return np.asarray(np.abs(totals).sum(axis=-1) / rows)
    hits, told, true = np.split(totals, 3, axis=-1)
    by_class = _ratio(metric, hits, told, true, least)
    # Sums of weights and zeros, less what was left out: half a row is the safe border between none and some.
    there = np.maximum(told, true) > least / 2
    return np.asarray(np.where(there, by_class, 0.0).sum(axis=-1) / np.maximum(there.sum(axis=-1), 1))


def _ratio(metric: Metric, hits: Floats, told: Floats, true: Floats, least: float) -> Floats:
    above, below = {
        Metric.F1: (2 * hits, told + true),
        Metric.PRECISION: (hits, told),
        Metric.RECALL: (hits, true),
    }[metric]
    return np.asarray(np.divide(above, below, out=np.zeros_like(above), where=below > least / 2))


def score(
    labels: Sequence[str],
    truth: NDArray[np.integer],
    probabilities: NDArray[np.floating],
    weights: Floats | None = None,
) -> Scores:
    """All metrics of one model on one set of rows.

    ``truth`` is the index of each row's class in ``labels``, ``probabilities`` is ``[rows, classes]``. With
    ``weights`` the metrics are weighted; rows, supports and confusions are still counts. Raises :class:`UnfitError`
    where the two do not fit each other, or a probability is not a number.
    """
    _check(labels, truth, probabilities)
    rows, classes = probabilities.shape
    heavy = np.ones(rows) if weights is None else weights
    least = float(heavy.min())
    totals = {metric: (features(metric, truth, probabilities) * heavy[:, None]).sum(axis=0) for metric in Metric}
    overall = {metric.value: float(value(metric, total, heavy.sum(), least)) for metric, total in totals.items()}
    confusion = np.bincount(truth * classes + probabilities.argmax(axis=1), minlength=classes * classes)
    hits, told, true = np.split(totals[Metric.F1], 3)
    by_class = {
        metric: _ratio(metric, hits, told, true, least) for metric in (Metric.PRECISION, Metric.RECALL, Metric.F1)
    }
    support = np.bincount(truth, minlength=classes)
    return Scores(
        rows=rows,
        **overall,
        per_class={
            label: ClassScores(
                precision=float(by_class[Metric.PRECISION][i]),
                recall=float(by_class[Metric.RECALL][i]),
                f1=float(by_class[Metric.F1][i]),
                support=int(support[i]),
            )
            for i, label in enumerate(labels)
        },
        confusion=tuple(tuple(int(count) for count in row) for row in confusion.reshape(classes, classes)),
    )


def _check(labels: Sequence[str], truth: NDArray[np.integer], probabilities: NDArray[np.floating]) -> None:
    if probabilities.shape != (len(truth), len(labels)) or len(truth) == 0:
        raise UnfitError(
            f"Cannot score {len(truth)} rows of {len(labels)} classes by probabilities of shape "
            f"{probabilities.shape}: give at least one row, and one probability for each class of each row."
        )
    if not np.isfinite(probabilities).all():
        bad = int((~np.isfinite(probabilities)).any(axis=1).sum())
        raise UnfitError(
            f"The model gives no number for {bad} of {len(truth)} rows (NaN or infinite). Its weights have "
            "diverged: lower tuning.learning_rate and run again."
        )
    if truth.min() < 0 or truth.max() >= len(labels):
        raise UnfitError(f"A label index lies outside 0 … {len(labels) - 1}: the dataset and its labels differ.")
