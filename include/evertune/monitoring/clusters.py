"""What kinds of texts are in the traffic that the reference hardly has.

A row's neighbours tell: where the traffic and the reference are alike, the rows nearest to any row are a mixture of
both, and where the traffic has something of its own they are traffic. Rows with far more traffic around them than
chance allows are gathered in clusters; a cluster counts where its share of the traffic is larger than its share of the
reference by more than chance, too.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.monitoring.descriptors import words_of
from evertune.records.traffic import Cluster

ROWS = 2000
"""Rows of each side that are compared: the distances of all to all take 4,000² numbers."""
NEIGHBOURS = 25
ODD = 2.0
"""Standard errors by which a row's traffic neighbours exceed what chance gives. Of 15 to 40 neighbours and 2 or 3
errors these found most of what is new in real texts, and one kind in 60 windows without a drift."""
CLUSTERS = 3
"""At most so many are told."""
EXAMPLES = 5
WORDS = 8
SHORTEST_PROOF = 3.0
"""Standard errors by which a cluster's share of the traffic must exceed its share of the reference."""
LONGEST_EXAMPLE = 280
COMMON = 0.03
"""Share of the other texts from which on a word tells nothing, however much more often it comes: such as "the"."""

Vectors = NDArray[np.float32]
Places = NDArray[np.int64]


class Side(NamedTuple):
    """Rows of the reference, or of the traffic."""

    embeddings: Vectors
    texts: Sequence[str]
    ids: Sequence[str]
    """Of the predictions; empty where they have none."""


def new_clusters(reference: Side, traffic: Side, seed: int) -> tuple[Cluster, ...]:
    """The new kinds, largest first; none where either side is too small to tell."""
    known, new = _usable(reference, seed), _usable(traffic, seed)
    if min(len(known.texts), len(new.texts)) < 2 * NEIGHBOURS:
        return ()
    vectors = _normal(np.concatenate([new.embeddings, known.embeddings]))
    odd = _traffic_around(vectors, len(new.texts)) >= _by_chance(len(new.texts) / len(vectors))
    if not odd[: len(new.texts)].any():
        return ()
    groups = _groups(vectors, odd, seed)
    found = (_cluster(known, new, vectors, groups == group) for group in range(groups.max() + 1))
    kept = sorted((cluster for cluster in found if cluster and _is_new(cluster, known, new)), key=_order)
    return tuple(kept[:CLUSTERS])


def most_unlike(reference: Side, traffic: Side, share: float, seed: int) -> tuple[Cluster, ...]:
    """The rows of the traffic that are least like the reference, as many as ``share``: for where no kind stands out."""
    known, new = _usable(reference, seed), _usable(traffic, seed)
    wanted = math.ceil(share * len(new.texts))
    if wanted < 1 or not known.texts:
        return ()
    vectors = _normal(np.concatenate([new.embeddings, known.embeddings]))
    around = _traffic_around(vectors, len(new.texts))
    members = around >= np.sort(around[: len(new.texts)])[-wanted]
    found = _cluster(known, new, vectors, members)
    return (found,) if found else ()


def _usable(side: Side, seed: int) -> Side:
    """At most :data:`ROWS` rows, by chance, and none whose embedding is no number."""
    good = np.flatnonzero(np.isfinite(side.embeddings).all(axis=1))
    if len(good) > ROWS:
        good = np.sort(np.random.default_rng(seed).choice(good, ROWS, replace=False))
    ids = [side.ids[row] for row in good.tolist()] if len(side.ids) == len(side.texts) else []
    return Side(side.embeddings[good].astype(np.float32), [side.texts[row] for row in good.tolist()], ids)


def _normal(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), np.float32(1e-12)))


def _traffic_around(vectors: Vectors, traffic: int) -> Places:
    """How many of each row's neighbours are traffic; a row is not its own neighbour."""
    neighbours = min(NEIGHBOURS, len(vectors) - 1)
    near = np.empty((len(vectors), neighbours), dtype=np.int64)
    for first in range(0, len(vectors), 500):
        alike = vectors[first : first + 500] @ vectors.T
        alike[np.arange(len(alike)), np.arange(first, first + len(alike))] = -np.inf
        near[first : first + 500] = np.argpartition(-alike, neighbours - 1, axis=1)[:, :neighbours]
    return np.asarray((near < traffic).sum(axis=1), np.int64)


def _by_chance(share: float) -> float:
    """Neighbours that are traffic, at most, where traffic and reference are alike."""
    return min(NEIGHBOURS, NEIGHBOURS * share + ODD * math.sqrt(NEIGHBOURS * share * (1 - share)))


def _groups(vectors: Vectors, odd: NDArray[np.bool_], seed: int) -> Places:
    """A cluster's number for each odd row, −1 for the rest."""
    from sklearn.cluster import KMeans

    rows = np.flatnonzero(odd)
    wanted = min(2 * CLUSTERS, max(1, len(rows) // 25), len(np.unique(vectors[rows], axis=0)))
    groups = np.full(len(vectors), -1, dtype=np.int64)
    groups[rows] = KMeans(wanted, n_init=3, random_state=seed).fit_predict(vectors[rows])
    return groups


def _cluster(known: Side, new: Side, vectors: Vectors, members: NDArray[np.bool_]) -> Cluster | None:
    n, rows = len(new.texts), np.flatnonzero(members[: len(new.texts)]).tolist()
    if not rows:
        return None
    shown = _diverse(vectors[rows], [new.texts[row] for row in rows])
    return Cluster(
        rows=len(rows),
        share=len(rows) / n,
        reference_share=float(members[n:].mean()),
        words=telling([new.texts[row] for row in rows], known.texts),
        examples=tuple(_short(new.texts[rows[one]]) for one in shown),
        prediction_ids=tuple(new.ids[rows[one]] for one in shown) if new.ids else (),
    )


def _is_new(cluster: Cluster, known: Side, new: Side) -> bool:
    n, m = len(new.texts), len(known.texts)
    both = (cluster.share * n + cluster.reference_share * m) / (n + m)
    error = math.sqrt(both * (1 - both) * (1 / n + 1 / m))
    more = cluster.share - cluster.reference_share
    return cluster.share >= 2 * cluster.reference_share and more >= SHORTEST_PROOF * error


def _order(cluster: Cluster) -> tuple[float, tuple[str, ...]]:
    return -cluster.share, cluster.words


def _diverse(vectors: Vectors, texts: Sequence[str]) -> list[int]:
    """Up to five rows that differ as much as can be: each is the farthest from those before it."""
    first = int(np.argmax(vectors @ vectors.mean(axis=0)))
    chosen, nearest = [first], vectors @ vectors[first]
    while len(chosen) < EXAMPLES:
        seen = {texts[one] for one in chosen}
        left = [row for row in np.argsort(nearest, kind="stable").tolist() if texts[row] not in seen]
        if not left:
            break
        chosen.append(left[0])
        nearest = np.maximum(nearest, vectors @ vectors[left[0]])
    return chosen


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_EXAMPLE else text[: LONGEST_EXAMPLE - 1].rstrip() + "…"


def telling(texts: Sequence[str], others: Sequence[str]) -> tuple[str, ...]:
    """Words that these texts have more often than the others, by the weighted log odds of a text's having them.

    The prior is a word's share in both (after Monroe, Colaresi and Quinn 2008, "Fightin' Words").
    """
    here, there = _texts_with(texts), _texts_with(others)
    scored = []
    for word, count in here.items():
        if there[word] > COMMON * len(others):
            continue
        prior = 0.5 + (count + there[word]) / (len(texts) + len(others))
        log_odds = _odds(count + prior, len(texts)) - _odds(there[word] + prior, len(others))
        score = log_odds / math.sqrt(1 / (count + prior) + 1 / (there[word] + prior))
        if score > 2 and (count > 1 or len(texts) == 1):
            scored.append((-score, word))
    return tuple(word for _, word in sorted(scored)[:WORDS])


def _odds(count: float, of: int) -> float:
    return math.log(count / (of + 2 - min(count, of + 1)))


def _texts_with(texts: Sequence[str]) -> Counter[str]:
    return Counter(word for text in texts for word in set(words_of(text)) if len(word) > 2 and not word.isdigit())
