"""Which unlabelled answers people should look at: drawn at random, the useful ones with a higher chance.

Answers that the model was unsure of, and those unlike anything that it knows, teach it most; but scores over labels
that were chosen for that say nothing of the traffic. So each answer has a chance above 0 to be drawn, the chance is
known and kept with the label, and whoever judges on it weighs it by 1 / chance (Horvitz and Thompson 1952). Draws are
independent of each other (Poisson sampling).

Answers that say the same are one question: only one of them is drawn, each with the same chance, which is divided among
them. A row's luck is a hash of its id, so that a draw which is repeated over grown traffic stays much the same.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
LEAST_USE = 0.1
"""Use of an answer that the model is sure of and knows: bounds how much heavier one row's weight is than another's."""
NOVEL = 0.9
"""Answers further out than this share of what the release knows begin to count as new."""
_NEAR = 0.25
"""Embeddings are near-equal within this part of the distance that two answers have on average."""


@dataclass(frozen=True, eq=False)
class Candidates:
    """Unlabelled answers of one release, a row an answer."""

    ids: Sequence[str]
    texts: Sequence[str]
    """Normalised."""
    scores: Floats
    """``[n, classes]``: calibrated probabilities."""
    embeddings: NDArray[np.float32]
    """``[n, width]``."""
    novelty: Floats
    """``[n]``: 0 to 1, share of what the release knows that is less far out; 0 where that is not known."""


class Picked(NamedTuple):
    """An answer to look at."""

    id: str
    probability: float
    """The chance with which it was drawn: above 0, at most 1."""
    why: str


def pick(candidates: Candidates, n: int, seed: int) -> list[Picked]:
    """About ``n`` of the candidates, in no order that says anything of them.

    A bad row (scores or embedding that are no numbers) is a candidate like any other.
    """
    if not len(candidates.ids) or n < 1:
        return []
    luck = np.array([_luck(id_, seed) for id_ in candidates.ids])
    groups = alike(candidates, np.argsort([_luck(id_, seed + 1) for id_ in candidates.ids], kind="stable"))
    unsure, new = uncertainty(candidates.scores), _newness(candidates.novelty)
    use = LEAST_USE + unsure + new
    counts = np.bincount(groups)
    chance = chances(np.bincount(groups, use) / counts, n)
    # The luckiest of a group stands for it: its luck is the smallest of m, and below c / m as often as is wanted.
    first = np.full(len(counts), -1)
    for row in np.argsort(luck, kind="stable")[::-1]:
        first[groups[row]] = row
    drawn = [int(row) for group, row in enumerate(first) if _drawn(luck[row], chance[group], counts[group])]
    return [
        Picked(
            candidates.ids[row],
            float(chance[groups[row]] / counts[groups[row]]),
            _why(unsure[row], new[row], int(counts[groups[row]])),
        )
        for row in drawn
    ]


def _drawn(smallest: float, chance: float, rows: int) -> bool:
    """Whether a group is drawn, from the smallest of its rows' lucks, which is below x with 1 − (1 − x) to the m."""
    return bool(1 - (1 - smallest) ** rows < chance) or chance >= 1


def _luck(id_: str, seed: int) -> float:
    digest = hashlib.blake2b(f"{seed}/{id_}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big") / 2**64


def uncertainty(scores: Floats) -> Floats:
    """``[n]``: 1 − the lead of the best label over the second, 1 for what is no number."""
    if scores.shape[1] < 2:
        return np.zeros(len(scores))
    best = np.sort(scores, axis=1)
    return np.asarray(np.clip(np.nan_to_num(1 - (best[:, -1] - best[:, -2]), nan=1.0), 0, 1))


def _newness(novelty: Floats) -> Floats:
    return np.asarray(np.clip((np.nan_to_num(novelty, nan=1.0) - NOVEL) / (1 - NOVEL), 0, 1))


def chances(use: Floats, n: int) -> Floats:
    """Chances in proportion to ``use``, above 0, at most 1, that sum to ``n`` or to all there are."""
    if n >= len(use):
        return np.ones(len(use))
    found, sure = np.zeros(len(use)), np.zeros(len(use), bool)
    while True:
        rest: NDArray[np.bool_] = ~sure
        found = np.where(sure, 1.0, use * (n - sure.sum()) / use[rest].sum())
        over = rest & (found >= 1)
        if not over.any():
            return np.asarray(found)
        sure |= over


def alike(candidates: Candidates, order: NDArray[np.intp]) -> NDArray[np.int64]:
    """``[n]``: number of each row's group, 0, 1, 2 …; rows of one group say the same in other or the same words.

    ``order``: which rows gather others around them first; it must have nothing to do with their luck.
    """
    groups = np.full(len(candidates.ids), -1)
    texts: dict[str, int] = {}
    near = _near(candidates.embeddings)
    count = 0
    for row in order:
        if groups[row] < 0:
            known = texts.setdefault(candidates.texts[row], count)
            groups[row] = known
            count += known == count
        others = near[row] & (groups < 0)
        others[row] = False
        groups[others] = groups[row]
    return groups


def _near(embeddings: NDArray[np.float32]) -> NDArray[np.bool_]:
    """``[n, n]``: whether two embeddings are near-equal, by their distance against that of any two of them."""
    there: NDArray[np.bool_] = np.asarray(np.isfinite(embeddings).all(axis=1))
    if embeddings.shape[1] == 0 or not there.any():
        return np.eye(len(embeddings), dtype=bool)
    rows = np.where(there[:, None], embeddings, 0.0).astype(np.float32)
    rows = rows - rows[there].mean(axis=0)
    squares = np.einsum("ij,ij->i", rows, rows)
    apart = squares[:, None] + squares[None, :] - 2 * rows @ rows.T
    near: NDArray[np.bool_] = apart <= _NEAR**2 * 2 * squares[there].mean() + 1e-9
    return np.asarray(near & there[:, None] & there[None, :])


def _why(unsure: float, new: float, rows: int) -> str:
    reasons = []
    if unsure > 0.5:
        reasons.append("the model is unsure")
    if new > 0.5:
        reasons.append("unlike what the release knows")
    if rows > 1:
        reasons.append(f"one of {rows} that say much the same")
    return "; ".join(reasons) or "drawn at random, to keep the picture whole"
