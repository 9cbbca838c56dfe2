"""Answers made up for the tests of what is told of a window."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import numpy as np

from evertune.monitoring.samples import Sample
from evertune.records.traffic import Finding, Signal, Window

LABELS = ("negative", "positive")
KNOWN = [
    "good",
    "bad",
    "film",
    "phone",
    "battery",
    "screen",
    "plot",
    "actor",
    "great",
    "poor",
    "charge",
    "scene",
    "story",
    "price",
    "sound",
    "camera",
]
ODD = ["senate", "budget", "editor", "court", "taxes", "governor"]
WIDTH = 32
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def sample(
    rows: int, odd: float = 0.0, *, seed: int = 0, labels: tuple[str, ...] = LABELS, ending: str = "", prefix: str = "p"
) -> Sample:
    """Answers of which the share ``odd`` is of a kind of its own: other words, longer, unsure."""
    rng = np.random.default_rng(seed)
    strange = rng.random(rows) < odd
    truth = rng.integers(0, 2, rows)
    embeddings = 0.3 * rng.normal(size=(rows, WIDTH))
    embeddings[:, 0] += 2 * truth - 1
    embeddings[strange, 1] += 3
    scores = np.where(
        strange, rng.uniform(0.4, 0.6, rows), 1 / (1 + np.exp(-3 * (2 * truth - 1) - rng.normal(size=rows)))
    )
    return Sample(
        embeddings=embeddings.astype(np.float32),
        scores=np.stack([1 - scores, scores], axis=1),
        texts=[_text(rng, odd) + ending for odd in strange],
        labels=labels,
        truth=truth.astype(np.int64),
        weights=np.ones(rows),
        ids=[f"{prefix}{row}" for row in range(rows)],
    )  # fmt: skip


def _text(rng: np.random.Generator, odd: bool) -> str:
    words: Sequence[str] = ODD if odd else KNOWN
    return " ".join(rng.choice(words, rng.integers(10, 30) if odd else rng.integers(4, 12))) + "."


def window(rows: int, number: int = 1) -> Window:
    """A window of release 1."""
    return Window(
        project="reviews", number=number, generation=1, rows=rows, parts=(), since=NOW, until=NOW, labels_until=NOW,
        created=NOW,
    )  # fmt: skip


def findings(effect: float, p: float, rows: int = 300) -> tuple[Finding, ...]:
    """The same of each signal."""
    return tuple(Finding(signal=one, rows=rows, effect=effect, smallest=0.1, p=p, e=1 / p) for one in Signal)
