"""Rows of a prepared dataset, and the batches of an epoch.

A batch has a budget of tokens, not a number of rows: a step then costs about the same whatever the texts are. Rows of
near-equal length share one, so that attention runs on few shapes and a padded model pads little.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from evertune.records import UnfitError

Integers = NDArray[np.int64]
_JITTER = 0.15
"""Each length is moved by up to this share before rows are sorted by it, so that other lengths meet in each epoch. All
rows of one length are moved alike: attention runs once a length, so a batch shall hold few of them."""


@dataclass(frozen=True)
class Rows:
    """One split. The ids stay on disk (memory-mapped) until a batch needs them."""

    flat: NDArray[np.int32]
    offsets: Integers
    truth: Integers

    @property
    def lengths(self) -> Integers:
        """Tokens of each row."""
        return np.diff(self.offsets)

    @property
    def tokens(self) -> int:
        """Tokens of all rows."""
        return int(self.offsets[-1] - self.offsets[0])

    def __len__(self) -> int:
        return len(self.truth)

    def class_weights(self, classes: int) -> NDArray[np.float32]:
        """What a row of each class weighs in the loss: all classes weigh the same together, and a row 1 on average."""
        counts = np.bincount(self.truth, minlength=classes)
        inverse = np.where(counts > 0, len(self) / np.maximum(counts, 1), 0.0).astype(np.float32)
        return inverse / np.float32((inverse * counts).sum() / len(self))

    def ids(self, picked: Integers) -> list[NDArray[np.int32]]:
        """Token ids of the picked rows."""
        return [self.flat[self.offsets[row] : self.offsets[row + 1]] for row in picked]


def load(dataset: Path, split: str) -> Rows:
    """One split of a prepared dataset. Raises :class:`UnfitError` where it has no rows or its files disagree."""
    truth = pq.read_table(dataset / f"{split}.parquet", columns=["label_index"])["label_index"].to_numpy()
    offsets = np.load(dataset / f"{split}.offsets.npy", allow_pickle=False).astype(np.int64)
    flat = np.load(dataset / f"{split}.ids.npy", mmap_mode="r", allow_pickle=False)
    if len(truth) == 0:
        raise UnfitError(f"The {split} split of {dataset} has no rows. Give more data, or change preparation.split.")
    if len(offsets) != len(truth) + 1 or offsets[0] != 0 or offsets[-1] != len(flat) or np.diff(offsets).min() < 1:
        raise UnfitError(f"The {split} split of {dataset} does not fit together. Prepare the dataset again.")
    return Rows(flat, offsets, truth.astype(np.int64))


def plan(lengths: Integers, tokens_per_batch: int, seed: int, epoch: int) -> list[Integers]:
    """Row numbers of the epoch's batches, each row once. The same seed and epoch give the same plan.

    A row longer than the budget is a batch of its own.
    """
    random = np.random.default_rng([seed, epoch])
    moved = np.arange(lengths.max() + 1) * (1 + random.uniform(-_JITTER, _JITTER, lengths.max() + 1))
    order = np.lexsort([random.permutation(len(lengths)), moved[lengths]])
    ends = np.cumsum(lengths[order])
    cuts = [0]
    while cuts[-1] < len(order):
        done = int(ends[cuts[-1] - 1]) if cuts[-1] else 0
        fits = int(np.searchsorted(ends, done + tokens_per_batch, side="right"))
        cuts.append(max(fits, cuts[-1] + 1))
    batches = [order[start:stop] for start, stop in itertools.pairwise(cuts)]
    return [batches[place] for place in random.permutation(len(batches))]
