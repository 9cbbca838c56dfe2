"""Small models that fill the tiles of matrix units."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
import transformers

from evertune.models import forward
from evertune.serving.engine.native import machine, weights
from evertune.serving.engine.served import Floats

VOCABULARY, POSITIONS = 200, 66

_WHY = machine.fault() or (None if machine._compiler() else "there is no C compiler")
needs_matrix_units = pytest.mark.skipif(_WHY is not None, reason=f"own code cannot run here: {_WHY}")
"""Where there are both, code that does not compile is a failure."""


def network(seed: int = 0, **changes: Any) -> Any:
    """A classifier whose parts all differ from what they start as."""
    sizes: dict[str, Any] = {
        "vocab_size": VOCABULARY, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 2,
        "intermediate_size": 128, "max_position_embeddings": POSITIONS, "num_labels": 2,
    }  # fmt: skip
    torch.manual_seed(seed)
    made = transformers.BertForSequenceClassification(transformers.BertConfig(**(sizes | changes)))
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    return made.eval()


def engine(network: Any, folder: Path) -> Path:
    """Its weights, as an engine's folder has them."""
    weights.write(network, folder)
    return folder


def rows(lengths: Sequence[int], seed: int = 0) -> list[list[int]]:
    """Rows of these lengths."""
    chance = np.random.default_rng(seed)
    return [chance.integers(0, VOCABULARY, length).tolist() for length in lengths]


class Reference:
    """The network itself as an engine."""

    padded: ClassVar[bool] = True

    def __init__(self, network: Any) -> None:
        self._network = network

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        with torch.inference_mode():
            logits, embeddings = forward.both(self._network, rows, forward.BEFORE_LAST)
        return logits.numpy(), embeddings.numpy()
