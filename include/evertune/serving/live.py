"""Which release answers for which project, at this moment, in this server."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import NamedTuple

from evertune.serving.engine.served import Served


class Refusal(NamedTuple):
    """A release that this server does not let answer; the one before it still does."""

    generation: int
    reason: str
    at: datetime


class Live:
    """One reference a project, exchanged whole: a request sees the old release or the new one, never a part of each.

    What a request took stays usable until it lets go of it, so the old release drains by itself.
    """

    def __init__(self, clock: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._served: dict[str, Served] = {}
        self._refused: dict[str, Refusal] = {}
        self.away: str | None = None
        """Why the ledger cannot be read, so that no newer release would be seen; ``None`` while it can."""
        self.released: frozenset[str] | None = None
        """The projects that have a release, by the ledger as last read; ``None`` until it has been."""

    def get(self, slug: str) -> Served | None:
        """The release that answers now."""
        return self._served.get(slug)

    def switch(self, served: Served) -> Served | None:
        """Let the release answer from now on; return the one that did.

        Generations only rise: one that is older than what answers changes nothing.
        """
        slug, generation = served.release.project, served.release.generation
        with self._lock:
            before = self._served.get(slug)
            if before is not None and before.release.generation > generation:
                return before
            self._served = {**self._served, slug: served}
            refused = self._refused.get(slug)
            if refused is not None and refused.generation <= generation:
                self._refused = {name: one for name, one in self._refused.items() if name != slug}
            return before

    def refuse(self, slug: str, generation: int, reason: str) -> None:
        """Note that this generation does not answer here, and why."""
        with self._lock:
            self._refused = {**self._refused, slug: Refusal(generation, reason, self._clock())}

    @property
    def refused(self) -> dict[str, Refusal]:
        """The newest refusal of each project, until a release of that generation or a later one answers."""
        return dict(self._refused)

    def projects(self) -> list[str]:
        """The projects that have a release here."""
        return sorted(self._served)

    def knows(self, slug: str) -> bool:
        """Whether the project has a release, even one that does not answer here (yet)."""
        return slug in self._served or slug in self._refused or slug in (self.released or ())

    def known(self) -> list[str]:
        """The projects that have a release, even one that does not answer here (yet)."""
        return sorted({*self._served, *self._refused, *(self.released or ())})

    def loading(self) -> list[str]:
        """Those of them whose release is still being loaded: none answers, and none was refused."""
        return [slug for slug in self.known() if slug not in self._served and slug not in self._refused]
