"""How a built engine is held to the model as trained: the same numbers on some rows, the same labels on many."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evertune.models.classifier import softmax
from evertune.serving.engine import compare
from evertune.serving.engine.served import Floats, Model, in_batches

EXACT_ROWS = 64
"""Rows on which numbers are compared: a wrong graph is wrong everywhere."""
BATCH_TOKENS = 192
"""Batches of the comparison, as the batcher makes them."""
ALONE_ROWS = 128
"""Rows that are answered alone, too, to see what company changes."""


class Rows(NamedTuple):
    """What an engine is judged on."""

    ids: list[list[int]]
    truth: compare.Labels
    classes: int


def difference(reference: Model, model: Model, ids: Sequence[Sequence[int]]) -> float:
    """The largest difference of a logit or of an embedding's number among the first rows, which share batches.

    Relative to the largest number where that is above 1. Not a number where one of theirs is none.
    """
    ids = ids[:EXACT_ROWS]
    worst = np.float32(0)
    for wanted, found in zip(in_batches(reference, ids, 1 << 14), in_batches(model, ids, 1 << 14), strict=True):
        # np.maximum keeps what is not a number, max() may drop it.
        worst = np.maximum(worst, np.abs(wanted - found).max() / np.maximum(1, np.abs(wanted).max()))
    return float(worst)


def labels(model: Model, rows: Rows) -> compare.Labels:
    """What a model says of the rows."""
    found: compare.Labels = in_batches(model, rows.ids, BATCH_TOKENS)[0].argmax(1)
    return found


def compared(model: Model, exact: compare.Labels, rows: Rows) -> tuple[compare.Comparison, float]:
    """Labels and quality beside those of the ``exact`` model; and the most that company changed a probability."""
    together, mixed = in_batches(model, rows.ids, BATCH_TOKENS)[0], _shuffled(model, rows.ids)
    alone = np.concatenate([model.run([row])[0] for row in rows.ids[:ALONE_ROWS]])
    shares = [softmax(logits[:ALONE_ROWS]) for logits in (alone, together, mixed)]
    neighbours = float(np.abs(np.stack(shares[1:]) - shares[0]).max())
    ways = [logits.argmax(1) for logits in (together, mixed)]
    return compare.compare(rows.truth, exact, ways, rows.classes), neighbours


def _shuffled(model: Model, ids: list[list[int]], size: int = 16) -> Floats:
    """The rows in batches of random company: the worst that a quiet server does to them."""
    order = np.random.default_rng(17).permutation(len(ids))
    parts = [model.run([ids[place] for place in order[at : at + size]])[0] for at in range(0, len(ids), size)]
    found = np.concatenate(parts)
    back = np.empty_like(found)
    back[order] = found
    return back
