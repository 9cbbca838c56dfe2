"""A PostgreSQL that takes a question and never answers is left after a while.

The system of a server process that was stopped, or a proxy that has lost its other side, acknowledges each packet, so
TCP sees nothing wrong, and libpq waits for ever: it has no setting against that, and those of the server need one that
is alive. Here the line is shut, which ends the waiting as if the other side had hung up.
"""

from __future__ import annotations

import contextlib
import functools
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

from evertune.ledger.connections import BUSY_S

ANSWER_S: float = BUSY_S + 10
"""Seconds until a question must be answered. More than a writer waits for another one, which the server then tells."""
LOOK_S = 1.0
"""Seconds between two looks after the silent."""


def driver() -> dict[str, Any]:
    """What psycopg2's ``connect`` takes so that no wait on the connection is without end.

    Raises ImportError without the driver.
    """
    from psycopg2 import extensions

    fetches = dict.fromkeys(("fetchone", "fetchmany", "fetchall", "close"), _of_server_side)
    return {
        "connection_factory": _bounded(extensions.connection, {"commit": _always, "rollback": _always}),
        "cursor_factory": _bounded(extensions.cursor, {"execute": _always, "executemany": _always, **fetches}),
    }


def hang_up() -> None:
    """Wait for nothing that is asked at this moment: for a process that ends."""
    _WATCH.look(0)


def _always(_asking: Any) -> bool:
    return True


def _of_server_side(cursor: Any) -> bool:
    """What other cursors fetch is here already."""
    return cursor.name is not None and not cursor.closed


def _bounded(kind: Any, asks: dict[str, Callable[[Any], bool]]) -> Any:
    """The class, with an end to what these of its methods wait for, where they ask the server at all."""
    methods = {name: _answered(getattr(kind, name), does_ask) for name, does_ask in asks.items()}
    return type(kind.__name__, (kind,), methods)


def _answered(method: Callable[..., Any], does_ask: Callable[[Any], bool]) -> Callable[..., Any]:
    @functools.wraps(method)
    def asked(asking: Any, *arguments: Any, **named: Any) -> Any:
        patience = _WATCH.patience(getattr(asking, "connection", asking)) if does_ask(asking) else None
        with patience or contextlib.nullcontext():
            return method(asking, *arguments, **named)

    return asked


class _Question:
    """One that is waited for. Compared by identity."""

    __slots__ = ("asked", "process")

    def __init__(self) -> None:
        self.process, self.asked = os.getpid(), time.monotonic()


class _Watch:
    """A thread that hangs up on the silent, one a process, from the first question on."""

    def __init__(self) -> None:
        self._lines: dict[_Question, int] = {}
        """Open questions. In and out in one step each, so that a fork finds no lock held; who takes one out closes."""
        self._thread: threading.Thread | None = None

    @contextlib.contextmanager
    def patience(self, connection: Any) -> Iterator[None]:
        """Wait for an answer on the connection, and not for ever. Raises psycopg2's OperationalError without one."""
        from psycopg2 import OperationalError

        # A descriptor of our own: that of the connection may be closed, and stand for another file, meanwhile.
        question, line = _Question(), os.dup(connection.fileno())
        self._lines[question] = line
        try:
            self._start()
            yield
        except OperationalError as fault:
            if question in self._lines:
                raise
            silent_s = time.monotonic() - question.asked
            raise OperationalError(f"it took the question and said nothing for {silent_s:.0f} s") from fault
        finally:
            if self._lines.pop(question, None) is not None:
                os.close(line)

    def _start(self) -> None:
        # Of two who come here at once each may start one, which does no harm. After a fork there is none.
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(target=self._run, name="evertune-silence", daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            time.sleep(LOOK_S)
            self.look(ANSWER_S)

    def look(self, patience_s: float) -> None:
        """Hang up on those that have been silent for so long."""
        for question in list(self._lines):
            ours = question.process == os.getpid()
            if ours and time.monotonic() - question.asked < patience_s:
                continue
            if (line := self._lines.pop(question, None)) is None:
                continue
            if ours:
                _hang_up(line)
            else:  # the process that this one was forked from still waits for it
                os.close(line)


def _hang_up(descriptor: int) -> None:
    with contextlib.suppress(OSError), socket.socket(fileno=descriptor) as line:
        line.shutdown(socket.SHUT_RDWR)


_WATCH = _Watch()
