"""Made-up answers for the tests of this room."""

from __future__ import annotations

import numpy as np

from evertune.monitoring.samples import Sample

LABELS = ("a", "b", "c")
WIDTH = 16


def answers(
    rows: int, seed: int = 0, *, shift: float = 0.0, right: float = 0.9, mix: tuple[float, ...] = (0.4, 0.3, 0.3),
    sure: float = 0.6,
) -> Sample:  # fmt: skip
    """Labelled answers; each argument moves one thing."""
    rng = np.random.default_rng([77, seed])
    truth = rng.choice(3, rows, p=mix)
    told = np.where(rng.random(rows) < right, truth, (truth + 1) % 3)
    scores = rng.dirichlet([1, 1, 1], rows) * (1 - sure)
    scores[np.arange(rows), told] += sure
    centres = np.random.default_rng(5).standard_normal((3, WIDTH))
    embeddings = centres[truth] + rng.standard_normal((rows, WIDTH))
    embeddings[:, 0] += shift
    texts = [f"text {seed} {place}" for place in range(rows)]
    return Sample(embeddings.astype(np.float32), scores, texts, LABELS, truth, np.ones(rows), texts)
