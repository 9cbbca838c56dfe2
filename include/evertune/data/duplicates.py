"""Near duplicates: found by MinHash, decided by exact Jaccard similarity, one of each kept by a fixed rule.

MinHash (Broder 1997) with banding proposes pairs, :func:`evertune.data.shingles.near` decides, so the threshold is
exact and a sketch's error never drops a row. Bands are chosen so that a pair at the threshold is overlooked with
probability at most :data:`MISS`.

Which copy stays does not depend on the order of the rows: they are taken by split (test, validation, train) and then by
row id, and a row stays unless it is near one that already stays. So no two rows that stay are near each other across
splits: test rows stay, what is near them leaves validation and training. Within one split a near row of another *class*
stays too: "works" and "works not" is what there is to learn, not a copy.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from evertune.data.shingles import VIEWS, Shingles, View, near

PERMUTATIONS = 128
"""Length of a sketch: 32-bit values a text."""
MISS = 1e-6
"""Largest probability that a pair right at the threshold is never compared."""
SEED = 7
CHUNK = 5_000
"""Texts sketched at once; bounds the memory that sketches take (as Python integers about 5 kB a text)."""

CACHED = 10_000
"""Texts whose shingles are kept at hand while texts are compared."""

T = TypeVar("T")
Indices = npt.NDArray[np.int64]


def bands(threshold: float) -> tuple[int, int]:
    """Number of bands and values a band: as selective as :data:`MISS` allows.

    Two texts of similarity s agree in some band with probability 1 − (1 − s^rows)^bands.
    """
    best = (PERMUTATIONS, 1)
    for rows in range(2, PERMUTATIONS + 1):
        count = PERMUTATIONS // rows
        if (1.0 - threshold**rows) ** count > MISS:
            break
        best = (count, rows)
    return best


def near_duplicates(
    texts: Sequence[str], splits: npt.NDArray[np.int8], classes: npt.NDArray[np.int32], order: Indices, threshold: float
) -> dict[int, int]:
    """Rows to drop, each with the row that stays in its place.

    ``order`` lists the rows from the most to the least preferred: by split, then by row id. ``texts`` is read once in
    its own order, and then only where two texts are compared.
    """
    tables = [table for view in VIEWS if len((table := _clashes(texts, view, threshold)).rows)]
    clashing = np.zeros(len(texts), dtype=bool)
    for table in tables:
        clashing[table.rows] = True

    @lru_cache(maxsize=CACHED)
    def shingles(row: int) -> tuple[Shingles, ...]:
        return tuple(view(texts[row]) for view in VIEWS)

    kept: defaultdict[tuple[int, int], list[int]] = defaultdict(list)
    dropped: dict[int, int] = {}
    for row in order[clashing[order]].tolist():
        buckets = [(number, key) for number, table in enumerate(tables) for key in table.buckets(row)]
        rivals = {rival for bucket in buckets for rival in kept.get(bucket, ())}
        for rival in sorted(rivals):
            comparable = splits[rival] != splits[row] or classes[rival] == classes[row]
            if comparable and near(shingles(row), shingles(rival), threshold):
                dropped[row] = rival
                break
        else:
            for bucket in buckets:
                kept[bucket].append(row)
    return dropped


@dataclass(frozen=True)
class _Table:
    """The rows that share a band with another row in one view."""

    rows: Indices
    """``[n]``, ascending."""
    numbers: npt.NDArray[np.int32]
    """``[n, bands]``: number of the bucket that the row shares, −1 where it is alone."""

    def buckets(self, row: int) -> list[int]:
        """Numbers of the buckets that the row shares with others."""
        place = int(np.searchsorted(self.rows, row))
        if place == len(self.rows) or self.rows[place] != row:
            return []
        numbers = self.numbers[place]
        return [number for number in numbers.tolist() if number >= 0]


def _clashes(texts: Sequence[str], view: View, threshold: float) -> _Table:
    rows, keys = _band_keys(texts, view, *bands(threshold))
    numbers = keys.view(np.int32)  # in place: at a million rows each copy of the table is 128 MB
    first = 0
    for band in range(keys.shape[1]):
        _, inverse, counts = np.unique(keys[:, band], return_inverse=True, return_counts=True)
        shared = counts > 1
        named = np.full(len(counts), -1, dtype=np.int32)
        named[shared] = np.arange(first, first + int(shared.sum()), dtype=np.int32)
        first += int(shared.sum())
        numbers[:, band] = named[inverse]
    some = (numbers >= 0).any(axis=1)
    return _Table(rows[some], numbers[some])


def _band_keys(texts: Sequence[str], view: View, count: int, size: int) -> tuple[Indices, npt.NDArray[np.uint32]]:
    """Numbers ``[n]`` of the rows that the view applies to, and their band keys ``[n, count]``.

    A key is a 32-bit hash of the band's values: two bands that differ share it once in 4 billion, which costs a
    comparison and nothing else.
    """
    rows = np.empty(len(texts), dtype=np.int64)
    keys = np.empty((len(texts), count), dtype=np.uint32)
    n = 0
    for chunk in _chunks(((i, shingles) for i, text in enumerate(texts) if (shingles := view(text))), CHUNK):
        sketch = _sketch([list(shingles) for _, shingles in chunk], count * size)
        rows[n : n + len(chunk)] = [i for i, _ in chunk]
        keys[n : n + len(chunk)] = _mix(sketch.reshape(len(chunk), count, size))
        n += len(chunk)
    return rows[:n], keys[:n]


def _sketch(shingles: list[list[str]], length: int) -> npt.NDArray[np.uint32]:
    from rensa import RMinHash

    matrix = RMinHash.digest_matrix_from_token_sets(shingles, length, SEED)
    return np.array(matrix.to_rows(), dtype=np.uint32)


def _mix(sketch: npt.NDArray[np.uint32]) -> npt.NDArray[np.uint32]:
    """One 32-bit hash of the last axis (multiply and fold, as in splitmix64)."""
    mixed = np.zeros(sketch.shape[:-1], dtype=np.uint64)
    for i in range(sketch.shape[-1]):
        mixed = (mixed ^ sketch[..., i].astype(np.uint64)) * np.uint64(0x9E3779B97F4A7C15)
        mixed ^= mixed >> np.uint64(32)
    return mixed.astype(np.uint32)


def _chunks(items: Iterable[T], size: int) -> Iterator[list[T]]:
    iterator = iter(items)
    while chunk := list(islice(iterator, size)):
        yield chunk
