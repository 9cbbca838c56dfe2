"""What the routes work with, whichever protocol asks, and what a caller may do with it."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

from evertune.records import JsonObject, Release
from evertune.serving.http.limits import Limits
from evertune.serving.http.metrics import Meters
from evertune.serving.http.problems import RefusedError, no_release, unknown
from evertune.serving.http.quality import Quality
from evertune.serving.http.traffic import Traffic
from evertune.serving.labelling import NoReview, Reviewing
from evertune.serving.picks import Picks

if TYPE_CHECKING:
    from evertune.serving.access import Access, Identity
    from evertune.serving.engine.batcher import Batcher
    from evertune.serving.engine.served import Served
    from evertune.serving.live import Live
    from evertune.serving.log import TrafficLog
    from evertune.serving.log.elsewhere import Elsewhere
    from evertune.serving.rates import Rates

Right = Literal["read", "predict", "feedback", "admin"]


@dataclass(frozen=True, slots=True)
class Openness:
    """What anybody may see without a key. Without these, the key must have the scope ``admin``."""

    page: bool = False
    """The page at ``/`` and the numbers that it shows."""
    docs: bool = False
    """``/docs``, ``/openapi.json`` and GraphiQL, with GraphQL's introspection."""
    metrics: bool = False
    """``/metrics``."""
    hosts: tuple[str, ...] = ()
    """Names under which these are given out; empty means any. Keeps a web site that resolves its own name to this
    machine from reading them through its visitor's browser (DNS rebinding)."""


LOOPBACK = Openness(page=True, docs=True, metrics=True, hosts=("localhost", "127.0.0.1", "[::1]"))
"""For a server that only this machine reaches."""


@dataclass(slots=True)
class Service:
    """What the routes call. Its parts are made, started and stopped by who builds it, batcher and log excepted."""

    live: Live
    batcher: Batcher
    log: TrafficLog
    access: Access
    rates: Rates
    lineage: Callable[[str, int], JsonObject]
    """Where a project's generation comes from, as :class:`Lineage` reads it. May block; raises UnreachableError."""
    history: Callable[[str], list[Release]]
    """All releases of a project, newest first. May block; raises UnreachableError."""
    limits: Limits = field(default_factory=Limits)
    openness: Openness = field(default_factory=Openness)
    quality: Quality = field(default_factory=Quality)
    traffic: Traffic = field(default_factory=Traffic)
    meters: Meters = field(default_factory=Meters)
    review: Reviewing = field(default_factory=NoReview)
    """Draws answers that people should label."""
    picks: Picks = field(default_factory=lambda: Picks(secrets.token_bytes(32)))
    """Signs with what chance they were drawn."""
    salt: str = ""
    """Of the hashes that stand for groups and annotators."""
    closing: bool = False
    """New requests are refused; those that were accepted are finished."""
    rebuilt: set[str] = field(default_factory=set)
    """Projects whose quality was read out of the log."""
    elsewhere: dict[str, Elsewhere] = field(default_factory=dict)
    """For each of them, what other processes of the home keep from then on."""
    ledger_threads: Executor = field(default_factory=lambda: ThreadPoolExecutor(4, "evertune-ledger"))
    """Threads of their own, so that a ledger that hangs does not take those that read the log."""
    graphql_busy: int = 0
    """GraphQL operations that run now."""

    def projects(self, caller: Identity) -> list[str]:
        """Slugs that the caller may see, those whose release does not answer (yet) too."""
        return [slug for slug in self.live.known() if caller.allows(slug, "read")]

    def admit(self, caller: Identity, project: str, right: Right = "read") -> None:
        """Raise 404 for a project that the caller may not see, there or not, and 403 for a scope that the key lacks.

        503 where only the ledger could say whether there is this project, and has not been read since the start.
        """
        allowed = caller.allows(project, "read")
        if allowed and self.live.released is None and not self.live.knows(project):
            raise no_release("The ledger has not been read since the start: which projects there are is not known yet.")
        if not allowed or not self.live.knows(project):
            raise unknown("project of this name")
        if not caller.allows(project, right):
            raise RefusedError(403, "forbidden", f"The key has no scope {right!r} in {project}. Ask for one that has.")

    def served(self, caller: Identity, project: str, right: Right) -> Served:
        """The release that answers; 503 where the project has none here yet."""
        self.admit(caller, project, right)
        if (served := self.live.get(project)) is None:
            raise no_release(
                f"No release of {project} is fit to answer here yet."
                if project in self.live.refused
                else f"The release of {project} is still being loaded here."
            )
        return served

    def charge(self, caller: Identity, cost: float = 1) -> None:
        """Take from the key's rate; 429 where nothing is left."""
        rate = self._rate(caller)
        wait = self.rates.take(caller.key_id, rate, cost)
        if wait is not None:
            self.meters.refused("rate")
            raise RefusedError(
                429, "rate", f"The key may ask {rate:g} times a second. Try again after Retry-After.",
                retry_after_s=min(wait, 3600.0),
            )  # fmt: skip

    def surcharge(self, caller: Identity, cost: float) -> None:
        """Take more for a request that was let in and turned out to be dear: what is left of a second, at most."""
        most = self._rate(caller) - 1
        if (cost := min(cost, most)) > 0:
            self.charge(caller, cost)

    def _rate(self, caller: Identity) -> float:
        return self.limits.rate_per_s if caller.rate_per_s is None else caller.rate_per_s

    @contextlib.contextmanager
    def busy_with_graphql(self) -> Iterator[int]:
        """Count one more GraphQL operation while it runs; gives how many there are with it."""
        self.graphql_busy += 1
        try:
            yield self.graphql_busy
        finally:
            self.graphql_busy -= 1

    async def close(self) -> None:
        """Finish what was accepted: first the engine, then the log."""
        self.closing = True
        await self.batcher.close()
        await self.log.close()
        self.ledger_threads.shutdown(wait=False, cancel_futures=True)
