"""Releases that have been switched away give their memory back to the system when their last request is answered.

glibc keeps what is freed for later: a session's weights go out in pieces among others that stay, so a server grew by
a third over a few releases and never shrank (`benchmarks.memory`).
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable


def trim() -> None:
    """Give free memory back to the system, which takes some milliseconds; nothing where the C library cannot."""
    malloc_trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if malloc_trim is not None:
        malloc_trim(ctypes.c_size_t(0))


class Leaving:
    """What was switched away. :meth:`add` is for any thread, :meth:`look` for one."""

    def __init__(self, give_back: Callable[[], None] = trim) -> None:
        self._give_back = give_back
        self._left: list[weakref.ref[object]] = []

    def add(self, one: object) -> None:
        """Look after something that nobody takes up any more."""
        self._left.append(weakref.ref(one))

    def look(self) -> None:
        """Give memory back where something has gone since the last look."""
        gone = [one for one in self._left if one() is None]
        for one in gone:
            self._left.remove(one)
        if gone:
            self._give_back()
