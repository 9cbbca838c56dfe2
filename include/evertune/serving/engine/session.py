"""ONNX Runtime behind :class:`Model`: sessions set up for a server that shares few cores with an event loop."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evertune.serving.engine.served import Floats

INPUTS, OUTPUTS = ("input_ids", "attention_mask"), ("logits", "embeddings")


class OnnxModel:
    """One session. Safe to share between threads, as sessions are; a call computes one padded batch."""

    def __init__(self, path: Path, filler: int) -> None:
        """``filler`` pads rows. One core computes a batch: several callers use several cores, and never wait."""
        import onnxruntime

        onnxruntime.set_default_logger_severity(3)
        self._session = onnxruntime.InferenceSession(os.fspath(path), _options(), providers=["CPUExecutionProvider"])
        self._filler = filler

    def run(self, rows: Sequence[Sequence[int]]) -> tuple[Floats, Floats]:
        """Logits and embeddings of the rows, as one batch."""
        ids, mask = padded(rows, self._filler)
        logits, embeddings = self._session.run(list(OUTPUTS), dict(zip(INPUTS, (ids, mask), strict=True)))
        return logits, embeddings


def padded(rows: Sequence[Sequence[int]], filler: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Token ids and attention mask, ``[rows, longest]``."""
    lengths = [len(row) for row in rows]
    longest = max(lengths)
    if min(lengths) == longest:
        ids = np.array(rows, np.int64)
        return ids, np.ones_like(ids)
    ids = np.full((len(rows), longest), filler, np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    mask = (np.arange(longest) < np.array(lengths)[:, None]).astype(np.int64)
    return ids, mask


def _options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # The further optimisations would fuse again what `plain` takes apart.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # A plan of the memory is kept for every shape it has met, and here nearly every batch has a shape of its own.
    options.enable_mem_pattern = False
    return options
