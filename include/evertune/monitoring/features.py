"""Random Fourier features of embeddings: a few hundred bounded numbers a row, whose means tell distributions apart.

The kernel behind them is a mixture of Gaussian kernels of several widths on embeddings of length 1, so nothing about
it is learned from data: summaries made apart, on other machines and of other rows, can be added.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FEATURES = 512
SCALES = (1.0, 2.0)
"""Widths of the Gaussian kernels. Rows of length 1 are between 0.3 (alike) and 1.4 (unrelated) apart; with narrower
kernels all rows are equally strange to each other."""
BLOCK = 512
"""Rows that are multiplied at once. Always so many, filled up with zeros: a row's features may not depend, not in the
last bit, on the rows beside it."""

Floats32 = NDArray[np.float32]


@lru_cache(maxsize=4)
def frequencies(width: int, seed: int) -> Floats32:
    """``[width, FEATURES / 2]``: directions drawn anew only for another seed."""
    chance = np.random.default_rng([seed, width])
    half = FEATURES // 2
    scales = np.resize(np.array(SCALES), half)
    return np.asarray(chance.standard_normal((width, half)) / scales, np.float32)


def usable(embeddings: Floats32) -> NDArray[np.bool_]:
    """``[n]``: rows that are all numbers."""
    return np.asarray(np.isfinite(embeddings).all(axis=1))


def unit(embeddings: Floats32) -> Floats32:
    """The rows at length 1; a row of zeros stays one."""
    wide = embeddings.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0), np.float32)


def fourier(embeddings: Floats32, seed: int) -> Floats32:
    """``[n, FEATURES]``; the squared length of a row is 1."""
    rows, width = embeddings.shape
    found = np.empty((rows, FEATURES), np.float32)
    directions, half = frequencies(width, seed), FEATURES // 2
    block = np.zeros((BLOCK, width), np.float32)
    for start in range(0, rows, BLOCK):
        part = unit(embeddings[start : start + BLOCK])
        block[: len(part)], block[len(part) :] = part, 0
        angles = block @ directions
        found[start : start + BLOCK, :half] = np.cos(angles)[: len(part)]
        found[start : start + BLOCK, half:] = np.sin(angles)[: len(part)]
    return found / np.float32(np.sqrt(half))
