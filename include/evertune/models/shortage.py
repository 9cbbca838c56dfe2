"""Memory that runs out, told in one sentence with advice, whoever computes: torch, ONNX Runtime, numpy or Arrow."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Iterator, Sequence

import structlog

from evertune.records import EvertuneError, UnfitError

LARGER = "choose a smaller base model, or a machine with more memory"
_SAID = ("can't allocate memory", "out of memory", "failed to allocate memory", "bad_alloc")
"""By torch on a CPU, by CUDA, and by ONNX Runtime with its arena and without: none has a type of its own for it that
could be named here without importing it."""
_SHORT = 64
"""Tokens of a row below which shorter ones save next to nothing."""
_SHOWN = 200
log = structlog.get_logger(__name__)


def shorter(longest: int) -> list[str]:
    """The advice to cut rows, of which the longest has so many tokens; none where that would not help."""
    return [f"set preparation.max_tokens below {longest}"] if longest > _SHORT else []


class ShortageError(UnfitError):
    """Memory ran out."""


@contextlib.contextmanager
def told(what: str, ways: Callable[[], Sequence[str]]) -> Iterator[None]:
    """Turn a want of memory into :class:`ShortageError` with advice: a retry would need as much again.

    Only where something else took the memory meanwhile does another try help, which the advice says too.
    ``what`` was done meanwhile ("reviews was tuned"), and ``ways`` tells what makes it fit; it is asked only then.
    """
    try:
        yield
    except EvertuneError:
        raise
    except Exception as fault:
        if not _is_shortage(fault):
            raise
        first = str(fault).strip().splitlines()[:1] or [type(fault).__name__]
        raise ShortageError(
            f"Memory ran out while {what} ({first[0][:_SHOWN]}). To make it fit: {'; '.join(_asked(ways))}. "
            "If something else took the memory meanwhile, end that and run again."
        ) from fault


def _asked(ways: Callable[[], Sequence[str]]) -> Sequence[str]:
    try:
        return ways()
    except Exception:  # there is no memory for this either
        log.exception("memory.no_advice")
        return [LARGER]


def _is_shortage(fault: Exception) -> bool:
    if isinstance(fault, OSError):  # its words have a file's name in them
        return fault.errno == errno.ENOMEM
    return isinstance(fault, MemoryError) or any(words in str(fault).lower() for words in _SAID)
