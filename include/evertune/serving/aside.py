"""Work on the releases of each project in a thread of its own: a download that hangs holds up no other project."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from evertune.serving.engine.build import StoppedError

log = logging.getLogger(__name__)

AT_ONCE = 8
"""Projects that are worked on at once; others wait for one of these to be done."""
CONVERSIONS = 2
"""Of them those that convert: each is a process with torch in it, beside a server that answers."""
_LOOK_S = 0.1


class Aside:
    """Starts work, at most one a project. :meth:`begin` and :meth:`busy` are for one thread."""

    def __init__(self, stop: threading.Event) -> None:
        """What waits here ends when ``stop`` is set."""
        self._stop = stop
        self._threads: dict[str, threading.Thread] = {}
        self._places = threading.Semaphore(AT_ONCE)
        self._conversions = threading.Semaphore(CONVERSIONS)

    def begin(self, slug: str, work: Callable[[], None]) -> None:
        """Do the work, unless something is being done for this project."""
        if not self.busy(slug):
            thread = threading.Thread(target=self._run, args=(slug, work), name=f"follower-{slug}", daemon=True)
            self._threads[slug] = thread
            thread.start()

    def busy(self, slug: str) -> bool:
        """Whether something is being done for this project."""
        thread = self._threads.get(slug)
        return thread is not None and thread.is_alive()

    def join(self, wait_s: float) -> bool:
        """Wait for what is being done; whether it is over."""
        deadline = time.monotonic() + wait_s
        for thread in self._threads.values():
            thread.join(max(0.0, deadline - time.monotonic()))
        return not any(map(self.busy, self._threads))

    @contextmanager
    def converting(self) -> Iterator[None]:
        """Not too many at once meanwhile. Raises :class:`StoppedError` where the end comes before the turn."""
        with self._turn(self._conversions):
            yield

    @contextmanager
    def _turn(self, places: threading.Semaphore) -> Iterator[None]:
        while not places.acquire(timeout=_LOOK_S):
            self._check()
        try:
            self._check()
            yield
        finally:
            places.release()

    def _check(self) -> None:
        if self._stop.is_set():
            raise StoppedError("The server ends; what waited for its turn is done when it starts again.")

    def _run(self, slug: str, work: Callable[[], None]) -> None:
        try:
            with self._turn(self._places):
                work()
        except StoppedError:
            return
        except Exception:  # the next poll tries again, and what answers goes on answering
            log.exception("following the releases of %s failed; the next poll tries again", slug)
