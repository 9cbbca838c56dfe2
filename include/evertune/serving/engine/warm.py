"""A release answers recorded texts before it answers anybody: what loads may still be no good."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from evertune import files
from evertune.serving.engine.answers import EngineError
from evertune.serving.engine.sentences import SENTENCES
from evertune.serving.engine.served import Served

WARM_ROWS = 32


def warm(served: Served, checks: Path | None) -> None:
    """Answer recorded inputs (check rows where there are any), alone and in a batch.

    Raises :class:`CorruptError` where an answer is none.
    """
    texts = _recorded(checks)
    try:
        found = [*served.answer(texts), *served.answer(texts[:1])]
    except EngineError as fault:
        raise files.CorruptError(f"It does not answer recorded texts: {fault} It is not used.") from fault
    scores = np.array([one.scores for one in found])
    if not np.isfinite(scores).all() or np.abs(scores.sum(1) - 1).max() > 1e-3 or scores.min() < 0:
        raise files.CorruptError("Its answers to recorded texts are no probabilities. It is not used.")
    if not all(np.isfinite(one.embedding).all() and one.embedding.size for one in found):
        raise files.CorruptError("Its embeddings of recorded texts are not finite. It is not used.")


def _recorded(checks: Path | None) -> list[str]:
    if checks is None:
        return list(SENTENCES)
    import pyarrow.parquet as pq

    return pq.read_table(checks, columns=["text"])["text"].slice(0, WARM_ROWS).to_pylist() or list(SENTENCES)
