"""``encoder.c`` behind :class:`Model`. What it is given is checked here: it trusts all of it."""

from __future__ import annotations

import ctypes
import functools
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import PositiveFloat, PositiveInt

from evertune import files
from evertune.records import EvertuneError, Record
from evertune.serving.engine.native import machine
from evertune.serving.engine.served import WEIGHTS, Floats

SHAPE = "shape.json"
"""File of such an engine, beside its weights."""
_KEPT = 16 << 20
"""Bytes that a thread keeps for the next batch; what a larger one needs is given back."""
_ALIGNED = 64


class Shape(Record):
    """Sizes of a BERT classifier."""

    vocabulary: PositiveInt
    positions: PositiveInt
    """Tokens that a text may have."""
    width: PositiveInt
    heads: PositiveInt
    inner: PositiveInt
    """Width between the two products of a layer's feed-forward part."""
    layers: PositiveInt
    labels: PositiveInt
    epsilon: PositiveFloat
    """Of its layer norms."""


class _Shape(ctypes.Structure):
    _fields_ = tuple(
        (name, ctypes.c_float if name == "epsilon" else ctypes.c_int32) for name in Shape.model_fields
    )  # fmt: skip


class _Batch(NamedTuple):
    """Rows of token ids behind one another."""

    ids: NDArray[np.int32]
    starts: NDArray[np.int32]
    """Where each row begins, and where the last one ends."""
    longest: int

    @property
    def rows(self) -> int:
        """Number of rows."""
        return len(self.starts) - 1


class AmxModel:
    """Safe to share between threads. A batch is computed by the calling thread, without padding."""

    padded: ClassVar[bool] = False

    def __init__(self, folder: Path) -> None:
        """The engine in the folder.

        Raises :class:`CorruptError` where the weights are not those of the shape, :class:`EvertuneError` where this
        machine cannot run it.
        """
        if why := machine.fault():
            raise EvertuneError(f"{folder} was built for matrix units, but {why}.")
        self.shape = Shape.model_validate(files.read_json(folder / SHAPE))
        self._shape = _Shape(**self.shape.model_dump())
        self._library = _library()
        # Mapped, so that what no text has read of the embeddings takes no memory.
        self._weights = np.memmap(folder / WEIGHTS, np.uint8, mode="r")
        if self._weights.size != self._library.weights_size(self._shape):
            raise files.CorruptError(f"{folder / WEIGHTS} does not fit its shape. Delete the folder; it is built anew.")

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:  # noqa: ARG002
        """Logits and embeddings of the rows, on one core whether ``alone`` or not.

        Raises ``ValueError`` where a row is empty, longer than the model's positions, or has an unknown id.
        """
        batch = self._checked(rows)
        logits = np.empty((batch.rows, self.shape.labels), np.float32)
        embeddings = np.empty((batch.rows, self.shape.width), np.float32)
        memory = _memory(self._library.memory_size(self._shape, len(batch.ids), batch.rows, batch.longest))
        self._library.encode(
            self._shape, _at(self._weights), _at(batch.ids), _at(batch.starts), batch.rows, _at(memory), _at(logits),
            _at(embeddings),
        )  # fmt: skip
        return logits, embeddings

    def _checked(self, rows: Sequence[Sequence[int]]) -> _Batch:
        parts = [np.asarray(row, np.int32) for row in rows]  # read once: what is checked is what is computed
        lengths = np.array([part.size for part in parts], np.int32)
        if not parts or lengths.min() < 1 or lengths.max() > self.shape.positions:
            raise ValueError(f"a batch needs rows of 1 to {self.shape.positions} tokens")
        ids = np.concatenate(parts)
        if ids.ndim != 1 or ids.min() < 0 or ids.max() >= self.shape.vocabulary:
            raise ValueError(f"token ids are numbers from 0 to {self.shape.vocabulary - 1}")
        return _Batch(ids, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32), int(lengths.max()))


class _Kept(threading.local):
    """A thread's memory, for all models."""

    memory: NDArray[np.uint8] = np.empty(0, np.uint8)


_KEEPER = _Kept()


def _memory(size: int) -> NDArray[np.uint8]:
    """So many bytes, aligned."""
    memory = _KEEPER.memory
    if memory.size < size + _ALIGNED:
        memory = np.empty(size + _ALIGNED, np.uint8)
        if size <= _KEPT:
            _KEEPER.memory = memory
    skipped = -_at(memory) % _ALIGNED
    return memory[skipped : skipped + size]


def _at(array: NDArray[Any]) -> int:
    return array.ctypes.data


@functools.cache
def _library() -> ctypes.CDLL:
    library = machine.compiled()
    shape, at, count = ctypes.POINTER(_Shape), ctypes.c_void_p, ctypes.c_int32
    library.weights_size.argtypes, library.weights_size.restype = (shape,), ctypes.c_size_t
    library.memory_size.argtypes, library.memory_size.restype = (shape, count, count, count), ctypes.c_size_t
    library.encode.argtypes, library.encode.restype = (shape, at, at, at, count, at, at, at), None
    return library
