"""What the ledger is still to be told of this server: kept until it listens, and said again daily."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import NamedTuple

from evertune.serving.engine.report import EngineReport

log = logging.getLogger(__name__)

AGAIN_S = 86_400.0
"""Who says nothing for a week is taken for gone (``ledger.servers``)."""

Tell = Callable[[str, int, EngineReport | None, str | None], None]


class _Untold(NamedTuple):
    generation: int
    engine: EngineReport | None
    refusal: str | None


class Reports:
    """The newest thing to say of each project."""

    def __init__(self, tell: Tell, clock: Callable[[], float] = time.monotonic) -> None:
        """``tell(slug, generation, engine, refusal)`` raises where nobody listens."""
        self._tell = tell
        self._clock = clock
        self._untold: dict[str, _Untold] = {}
        self._told: dict[str, tuple[float, _Untold]] = {}

    def answers(self, slug: str, generation: int, engine: EngineReport) -> None:
        """This generation answers here."""
        self._untold[slug] = _Untold(generation, engine, None)

    def refused(self, slug: str, generation: int, reason: str) -> None:
        """This generation does not, and why."""
        self._untold[slug] = _Untold(generation, None, reason)

    def send(self, slug: str) -> None:
        """Tell it now; what cannot be told stays for the next time."""
        if (untold := self._untold.get(slug) or self._said_long_ago(slug)) is None:
            return
        try:
            self._tell(slug, *untold)
        except Exception as fault:  # noqa: BLE001 - whatever ails the ledger, the releases of other projects are followed
            log.warning("the ledger could not be told what answers for %s: %s", slug, fault)
            return
        self._told[slug] = (self._clock(), untold)
        if self._untold.get(slug) is untold:  # else there is something newer to say meanwhile
            del self._untold[slug]

    def _said_long_ago(self, slug: str) -> _Untold | None:
        at, told = self._told.get(slug, (0.0, None))
        return told if told is not None and self._clock() - at >= AGAIN_S else None
