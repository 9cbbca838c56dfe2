"""What a model must beat before it may be the first: answers that need no training.

``majority`` always tells the classes' shares in training, so its answer is the commonest class. ``untuned`` is the
base model's nearest-label guess: the class whose training rows lie nearest, on average, in the untouched embeddings.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TOKENS_PER_BATCH = 4096
TRAINING_ROWS = 1000
"""Rows that the class means are made of, all classes together: more hardly move a mean, and embedding costs time."""
ROWS_PER_CLASS = 20
"""Where there are many classes, at least so many of each."""
SHARPNESS = 20.0
"""Cosine similarities times this are the logits, as in sentence-transformers' ranking loss."""

Floats = NDArray[np.float32]


def majority(train: NDArray[np.integer], classes: int, rows: int) -> Floats:
    """The classes' shares among the training labels, the same for each of ``rows`` rows: ``[rows, classes]``."""
    shares = np.bincount(train, minlength=classes) / max(len(train), 1)
    return np.tile(shares.astype(np.float32), (rows, 1))


def pick(train: NDArray[np.integer], classes: int) -> NDArray[np.int64]:
    """Rows for the class means: the first of each class, so that the pick is always the same."""
    each = max(TRAINING_ROWS // classes, ROWS_PER_CLASS)
    return np.sort(np.concatenate([np.flatnonzero(train == c)[:each] for c in range(classes)]))


def nearest_label(rows: Floats, train: Floats, labels: NDArray[np.integer], classes: int) -> Floats:
    """Probabilities ``[rows, classes]`` from the cosine to each class's mean of training embeddings.

    A class without training rows is never answered.
    """
    means = np.stack([train[labels == c].mean(axis=0) if (labels == c).any() else 0 * train[0] for c in range(classes)])
    logits = SHARPNESS * _unit(rows) @ _unit(means).T
    logits[:, ~np.isin(np.arange(classes), labels)] = -np.inf
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True), np.float32)


def _unit(rows: Floats) -> Floats:
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float32)


def embeddings(base: Path, ids: Sequence[NDArray[np.int32]]) -> Floats:
    """Mean of the base model's last hidden states over each row's tokens: ``[rows, width]``, in 32 bits.

    ``base`` is a verified folder with safetensors, ``ids`` are made by its own tokenizer.
    """
    import torch
    import transformers

    from evertune.models import classifier, devices, forward

    with classifier.quiet():
        model = transformers.AutoModel.from_pretrained(
            base, local_files_only=True, use_safetensors=True, trust_remote_code=False, dtype=torch.float32
        )
    model.to(devices.best()).eval()
    found: Floats = np.zeros((len(ids), model.config.hidden_size), np.float32)
    with torch.inference_mode():
        for picked in forward.by_length([len(row) for row in ids], TOKENS_PER_BATCH):
            found[picked] = forward.embeddings(model, [ids[row] for row in picked]).float().cpu().numpy()
    return found
