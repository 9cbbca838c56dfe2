"""What the ledger is still to be told of this server: kept until it listens."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import NamedTuple

from evertune.serving.engine.report import EngineReport

log = logging.getLogger(__name__)

Tell = Callable[[str, int, EngineReport | None, str | None], None]


class _Untold(NamedTuple):
    generation: int
    engine: EngineReport | None
    refusal: str | None


class Reports:
    """The newest thing to say of each project."""

    def __init__(self, tell: Tell) -> None:
        """``tell(slug, generation, engine, refusal)`` raises where nobody listens."""
        self._tell = tell
        self._untold: dict[str, _Untold] = {}

    def answers(self, slug: str, generation: int, engine: EngineReport) -> None:
        """This generation answers here."""
        self._untold[slug] = _Untold(generation, engine, None)

    def refused(self, slug: str, generation: int, reason: str) -> None:
        """This generation does not, and why."""
        self._untold[slug] = _Untold(generation, None, reason)

    def send(self, slug: str) -> None:
        """Tell it now; what cannot be told stays for the next time."""
        if (untold := self._untold.get(slug)) is None:
            return
        try:
            self._tell(slug, *untold)
        except Exception as fault:  # noqa: BLE001 - whatever ails the ledger, the releases of other projects are followed
            log.warning("the ledger could not be told what answers for %s: %s", slug, fault)
            return
        del self._untold[slug]
