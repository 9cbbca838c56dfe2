"""Labelled traffic in a dataset: which of it is judged on, how much is trained on, how heavily each judged row weighs.

A group that the sources have too stays on the side that it has there, so no document is trained on and judged on. Any
other group's side is told by the same salted hash: below ``judged_share`` it is judged on and never trained on; of the
rest, validation gets the same part as of the sources.
"""

from __future__ import annotations

from collections.abc import Set as AbstractSet
from typing import Any

import numpy as np
import numpy.typing as npt

from evertune.data import split as splitting
from evertune.data.split import LEFT_OUT, RECENT, TEST, TRAIN, VALIDATION
from evertune.project.options import Retraining, Split

COLUMNS = ("traffic:origin", "traffic:probability", "traffic:judged")
"""What a row of labelled traffic has besides the columns of all rows, whose names are the project's. Its ``id`` is the
prediction's."""
HEAVIEST = 20.0
"""No judged row weighs more than so many times the median: one row picked by a rare chance must not decide alone."""

Mask = npt.NDArray[np.bool_]
Floats = npt.NDArray[np.float64]


def side(group: str, split: Split, judged_share: float, in_sources: AbstractSet[str]) -> int:
    """The side of the group's traffic: :data:`RECENT`, or validation or train of the sources' splits."""
    if group in in_sources:
        there = splitting.assign(group, split)
        return RECENT if there == TEST else there
    place = splitting.position(group, split.salt)
    if place < judged_share:
        return RECENT
    validation = (1 - judged_share) * split.validation / (1 - split.test)
    return VALIDATION if place < judged_share + validation else TRAIN


def sides(
    groups: list[str], judged: list[bool], split: Split, options: Retraining, in_sources: AbstractSet[str]
) -> list[int]:
    """The side of each row. One that must not be judged on, but whose group is, is for nothing (:data:`LEFT_OUT`)."""
    found = [side(group, split, options.judged_share, in_sources) for group in groups]
    return [LEFT_OUT if at == RECENT and not may else at for at, may in zip(found, judged, strict=True)]


def too_many(times: list[str], ids: npt.NDArray[np.bytes_], others: int, share: float) -> Mask:
    """Which rows of traffic to leave out so that they are at most ``share`` of themselves and ``others``: the oldest.

    ``times`` are in ISO 8601, all UTC.
    """
    left_out = np.zeros(len(times), dtype=np.bool_)
    if share >= 1:
        return left_out
    allowed = int(others * share / (1 - share) + 1e-9)
    oldest_last = sorted(range(len(times)), key=lambda row: (times[row], ids[row]), reverse=True)
    left_out[oldest_last[allowed:]] = True
    return left_out


def weights(probability: npt.NDArray[Any]) -> Floats:
    """How heavily each judged row counts, 1 on average: so that they stand for the traffic, not for what was picked.

    Rows that were picked count by the inverse of their chance (Hájek 1971), at most :data:`HEAVIEST` times the median.
    Rows that nobody picked (NaN) are taken for a plain sample. Where there are both, each kind stands for the whole
    traffic, and the two are put together by their effective sizes (Kish 1965): as precise as either deserves.
    """
    found = np.ones(len(probability))
    picked = ~np.isnan(probability)
    if picked.any():
        inverse = 1 / probability[picked]
        inverse = np.minimum(inverse, HEAVIEST * float(np.median(inverse)))
        found[picked] = inverse * effective(inverse) / inverse.sum()
    return found / found.mean() if len(found) else found


def effective(weights: Floats) -> float:
    """How many rows of equal weight would be as precise (Kish 1965)."""
    total = float(weights.sum())
    return total * total / float((weights**2).sum()) if total else 0.0
