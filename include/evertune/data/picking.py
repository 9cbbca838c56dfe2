"""Which groups are drawn where a project wants only some of a source's rows.

Groups are ordered by a hash of their name, and the first of them that hold about as many rows as wanted are taken.
So the pick depends on what the groups are, not on the order of the file, and a group is never torn.
"""

from __future__ import annotations

import hashlib
from array import array
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Picked:
    """All groups whose hash is at most ``highest``."""

    highest: int

    def has(self, group: str) -> bool:
        """Whether the group's rows are drawn."""
        return _hash(group) <= self.highest


def picked(groups: Iterable[str], rows: int) -> Picked:
    """The pick of about ``rows`` rows, given the group of every row; at least one group. Eight bytes a row."""
    hashes = np.frombuffer(array("Q", map(_hash, groups)), dtype=np.uint64)
    if not len(hashes):
        return Picked(0)
    ordered, sizes = np.unique(hashes, return_counts=True)
    distance = np.abs(np.cumsum(sizes) - rows)
    return Picked(int(ordered[int(np.argmin(distance))]))


def _hash(group: str) -> int:
    # A hash of its own: were it the split's, a pick would hold test rows only, or none.
    data = group.encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(data, digest_size=8, person=b"evertune-pick").digest(), "big")
