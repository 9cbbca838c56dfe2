"""ONNX Runtime behind :class:`Model`: sessions set up for a server that shares few cores with an event loop.

Batches that are computed at the same time take a core each: cores that share one wait for each other after every
operator. A batch that is alone would leave the other cores idle, so there is a second session that shares it out.
The weights are mapped from their file, so that both have the same pages of them, and all sessions of the process take
turns with the memory for what they compute.
"""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from evertune.serving.engine.served import Floats

INPUTS, OUTPUTS = ("input_ids", "attention_mask"), ("logits", "embeddings")
MOST_CORES = 4
"""That share a batch: the operators of a text are too small for more."""


class OnnxModel:
    """Safe to share between threads, as sessions are; a call computes one padded batch."""

    padded: ClassVar[bool] = True

    def __init__(self, path: Path, filler: int, cores: int = 1) -> None:
        """``filler`` pads rows. As many ``cores`` as pay (:data:`MOST_CORES`) share a batch that is alone."""
        self._one = self._all = _session(path, 1)
        if (shared := min(cores, MOST_CORES)) > 1:
            self._all = _session(path, shared)
        self._filler = filler

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        """Logits and embeddings of the rows, as one batch."""
        ids, mask = padded(rows, self._filler)
        session = self._all if alone else self._one
        logits, embeddings = session.run(list(OUTPUTS), dict(zip(INPUTS, (ids, mask), strict=True)))
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


def _session(path: Path, cores: int) -> Any:
    import onnxruntime

    with _PREPARING:
        _prepare()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = cores
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    # Threads that wait busily for the next batch would take the cores of those that compute one.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    options.add_session_config_entry("session.use_env_allocators", "1")  # those of _prepare
    # The further optimisations would fuse again what `plain` takes apart.
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_BASIC
    # A plan of the memory is kept for every shape it has met, and here nearly every batch has a shape of its own.
    options.enable_mem_pattern = False
    return onnxruntime.InferenceSession(os.fspath(path), options, providers=["CPUExecutionProvider"])


@functools.cache
def _prepare() -> None:
    """Once a process: one arena for all sessions. One each would keep the largest batch's memory for every project."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(3)
    kind, of = onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, onnxruntime.OrtMemType.DEFAULT
    onnxruntime.create_and_register_allocator(onnxruntime.OrtMemoryInfo("Cpu", kind, 0, of), None)


_PREPARING = threading.Lock()
"""Two at once would both register it, which fails."""
