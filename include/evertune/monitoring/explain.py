"""What an alert is about, for people: which figures moved, which kinds of texts are new, how much traffic that is.

An explanation decides nothing. It only tells what is more than chance, so that a person is not sent after noise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evertune.monitoring import descriptors
from evertune.monitoring.clusters import Side, most_unlike, new_clusters
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.records.traffic import Cluster, Explanation, Finding, Moved, Signal

SMALLEST_DISTANCE = 0.1
"""Largest gap between two distributions of a descriptor that is still no move."""
SMALLEST_SHARE = 0.02
"""Change of a label's share that is told."""
CHANCE = 0.01
"""Chance, over all descriptors together, that one is told although nothing moved; so over all labels."""


def explain(reference: Reference, traffic: Sample, findings: Sequence[Finding], seed: int = 0) -> Explanation:
    """What is different in the traffic; where it has ids, those of the examples come along."""
    known = reference.kept
    if not len(known) or not len(traffic):
        return Explanation(share=0.0, sentences=("There are no rows to compare.",))
    moved = tuple(_moved_descriptors(known.texts, traffic.texts))
    labels = tuple(_moved_labels(known, traffic))
    sides = Side(known.embeddings, known.texts, ()), Side(traffic.embeddings, traffic.texts, traffic.ids)
    clusters = new_clusters(*sides, seed)
    unlike = next((one.effect for one in findings if one.signal is Signal.EMBEDDING and one.matters), 0.0)
    if not clusters and unlike > 0:
        clusters = most_unlike(*sides, min(1.0, unlike), seed)
    share = _share(findings, clusters)
    return Explanation(
        share=share,
        descriptors=moved,
        labels=labels,
        clusters=clusters,
        sentences=tuple(_sentences(share, moved, labels, clusters, findings)),
    )


def distance(one: NDArray[np.float64], other: NDArray[np.float64]) -> tuple[float, float]:
    """Largest gap between two distributions, and its chance under no difference (Kolmogorov's first term)."""
    one, other = one[np.isfinite(one)], other[np.isfinite(other)]
    if not len(one) or not len(other):
        return 0.0, 1.0
    places = np.union1d(one, other)
    below = np.searchsorted(np.sort(one), places, side="right") / len(one)
    gap = float(np.abs(below - np.searchsorted(np.sort(other), places, side="right") / len(other)).max())
    size = len(one) * len(other) / (len(one) + len(other))
    return gap, min(1.0, 2 * math.exp(-2 * size * gap * gap))


def _moved_descriptors(reference: Sequence[str], traffic: Sequence[str]) -> Iterator[Moved]:
    before, now = descriptors.described(reference, traffic)
    for name in descriptors.NAMES:
        gap, p = distance(before[name], now[name])
        if gap >= SMALLEST_DISTANCE and p <= CHANCE / len(descriptors.NAMES):
            yield Moved(name=name, reference=float(np.nanmean(before[name])), traffic=float(np.nanmean(now[name])))


def _moved_labels(reference: Sample, traffic: Sample) -> Iterator[Moved]:
    before, now = _shares(reference), _shares(traffic)
    z = _quantile(1 - CHANCE / max(1, len(before)) / 2)
    for label, share in before.items():
        both = (share * len(reference) + now[label] * len(traffic)) / (len(reference) + len(traffic))
        error = math.sqrt(both * (1 - both) * (1 / len(reference) + 1 / len(traffic)))
        if abs(now[label] - share) >= max(SMALLEST_SHARE, z * error):
            yield Moved(name=label, reference=share, traffic=now[label])


def _shares(sample: Sample) -> Mapping[str, float]:
    counts = np.bincount(sample.predicted, minlength=len(sample.labels))
    return {label: float(counts[place] / len(sample)) for place, label in enumerate(sample.labels)}


def _quantile(p: float) -> float:
    from statistics import NormalDist

    return NormalDist().inv_cdf(p)


def _share(findings: Sequence[Finding], clusters: Sequence[Cluster]) -> float:
    """The embedding signal's effect is such a share; where it is off, what the clusters have beyond the reference."""
    told = next((one for one in findings if one.signal is Signal.EMBEDDING and one.rows), None)
    share = told.effect if told else sum(one.share - one.reference_share for one in clusters)
    return float(min(1.0, max(0.0, share)))


def _sentences(
    share: float,
    moved: Sequence[Moved],
    labels: Sequence[Moved],
    clusters: Sequence[Cluster],
    findings: Sequence[Finding],
) -> Iterator[str]:
    yield f"About {share:.0%} of the traffic is unlike what the release was measured on."
    for one in sorted(findings, key=lambda one: one.p):
        if one.matters and one.signal in _SAID:
            yield _SAID[one.signal].format(effect=one.effect, points=100 * one.effect, rows=one.rows, p=one.p)
    for place, cluster in enumerate(clusters, 1):
        words = f", told by the words {', '.join(cluster.words)}" if cluster.words else ""
        what = f"New kind {place}" if cluster.share >= 2 * cluster.reference_share else "Least like the reference"
        yield f"{what}: {cluster.share:.0%} of the traffic and {cluster.reference_share:.1%} of the reference{words}."
    for label in labels:
        yield f"{label.name!r} is answered in {label.traffic:.0%} of cases; {label.reference:.0%} in the reference."
    for figure in moved:
        what = descriptors.NAMES[figure.name]
        digits = "{:.1%}" if what.startswith("share") else "{:,.1f}"
        now, before = digits.format(figure.traffic), digits.format(figure.reference)
        yield f"{what.capitalize()}, a text: {now} on average; {before} in the reference."


_SAID = {
    Signal.OUTPUT: "The model's probabilities are distributed differently: largest distance {effect:.2f}.",
    Signal.LOW_CONFIDENCE: "The share of answers that the model is unsure of rose by {points:.0f} points.",
    Signal.F1: "Macro F1 on {rows} labelled answers is {points:.1f} points lower than in the reference.",
    Signal.ERRORS: "The share of wrong answers among {rows} labelled ones rose by {points:.1f} points.",
}
