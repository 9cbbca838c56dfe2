"""How good the model is on the validation rows, while it is tuned."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from evertune.models import forward
from evertune.models.classifier import macro_f1, softmax
from evertune.tuning.batches import Rows


class Quality(NamedTuple):
    """On all validation rows: logits ``[rows, classes]``, mean log loss, macro F1."""

    logits: NDArray[np.float32]
    loss: float
    f1: float


def measure(model: Any, rows: Rows, classes: int, tokens_per_batch: int, precision: torch.dtype) -> Quality:
    """Measure without dropout and gradients; the model comes back in training mode."""
    found = np.zeros((len(rows), classes), np.float32)
    model.eval()
    with torch.no_grad(), autocast(model.device, precision):
        for picked in forward.by_length(rows.lengths, tokens_per_batch):
            found[picked] = forward.logits(model, rows.ids(picked)).float().cpu().numpy()
    model.train()
    right = softmax(found).astype(np.float64)[np.arange(len(rows)), rows.truth]
    return Quality(
        found, float(-np.log(np.maximum(right, 1e-12)).mean()), macro_f1(rows.truth, found.argmax(1), classes)
    )


def autocast(device: torch.device, precision: torch.dtype) -> torch.autocast:
    """Matrix products in ``precision``; weights and sums stay 32 bits wide."""
    return torch.autocast(device.type, dtype=torch.bfloat16, enabled=precision is torch.bfloat16)
