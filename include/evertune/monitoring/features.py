"""What of a row's embedding is compared: bounded numbers whose means tell distributions apart.

The embedding at length 1, and beside it random Fourier features of it: the first show a mean that has moved, the second
also what leaves the mean where it was. Nothing about them is learned from data, so summaries made apart, on other
machines and of other rows, can be added.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

FOURIER = 256
"""Random features. As a kernel so few are noisy, so the embedding itself stands beside them and counts for more."""
SHARE = 0.25
"""Of the squared length of a row's features that is theirs."""
SCALE = 1.0
"""Width of the Gaussian kernel that they are of. Rows of length 1 are between 0.3 (alike) and 1.4 (unrelated) apart."""
BLOCK = 512
"""Rows that are multiplied at once. Always so many, filled up with zeros: a row's features may not depend, not in the
last bit, on the rows beside it."""

Floats32 = NDArray[np.float32]


@lru_cache(maxsize=4)
def frequencies(width: int, seed: int) -> Floats32:
    """``[width, FOURIER / 2]``: directions drawn anew only for another seed."""
    chance = np.random.default_rng([seed, width])
    return np.asarray(chance.standard_normal((width, FOURIER // 2)) / SCALE, np.float32)


def usable(embeddings: Floats32) -> NDArray[np.bool_]:
    """``[n]``: rows that are all numbers."""
    return np.asarray(np.isfinite(embeddings).all(axis=1))


def unit(embeddings: Floats32) -> Floats32:
    """The rows at length 1; a row of zeros stays one."""
    wide = embeddings.astype(np.float64)
    lengths = np.sqrt((wide**2).sum(axis=1, keepdims=True))
    return np.asarray(np.divide(wide, lengths, out=np.zeros_like(wide), where=lengths > 0), np.float32)


def count(width: int) -> int:
    """How many features a row has."""
    return width + FOURIER


def of(embeddings: Floats32, seed: int) -> Floats32:
    """``[n, count(width)]``; the length of a row is 1."""
    rows, width = embeddings.shape
    found = np.empty((rows, count(width)), np.float32)
    directions, half = frequencies(width, seed), width + FOURIER // 2
    block = np.zeros((BLOCK, width), np.float32)
    for start in range(0, rows, BLOCK):
        part = unit(embeddings[start : start + BLOCK])
        block[: len(part)], block[len(part) :] = part, 0
        angles, into = block @ directions, found[start : start + BLOCK]
        into[:, :width] = part
        into[:, width:half] = np.cos(angles)[: len(part)]
        into[:, half:] = np.sin(angles)[: len(part)]
    found[:, :width] *= np.float32(np.sqrt(1 - SHARE))
    found[:, width:] *= np.float32(np.sqrt(SHARE / (FOURIER // 2)))
    return found
