"""The server: the rooms of ``evertune.serving``, wired to the ledger and to MLflow, in one process."""

from __future__ import annotations

import contextlib
import ipaddress
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import structlog

from evertune.ledger import keys, releases, segments, silence
from evertune.loop.followed import Ledger, LedgerReleases
from evertune.loop.lineage import lineage
from evertune.loop.review import Answering, Review
from evertune.serving.access import Access
from evertune.serving.engine.batcher import Batcher
from evertune.serving.follower import Follower
from evertune.serving.http.app import app
from evertune.serving.http.limits import Limits
from evertune.serving.http.service import LOOPBACK, Openness, Service
from evertune.serving.live import Live
from evertune.serving.log import TrafficLog
from evertune.serving.picks import Picks
from evertune.serving.rates import Rates
from evertune.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Options:
    """Where the server listens and what it lets through."""

    host: str = "127.0.0.1"
    """Address to listen on; anything but loopback wants TLS before it."""
    port: int = 8000
    poll_s: float = 2.0
    """Seconds between two looks at the ledger for a newer release."""
    segment_s: float = 60.0
    """Seconds after which a segment of the traffic log is closed, and the monitor can see what is in it."""
    closed: bool = False
    """Whether nothing but health is open without a key on loopback either."""
    limits: Limits = field(default_factory=Limits)

    @property
    def openness(self) -> Openness:
        """What needs no key: on loopback the page, the documents and the metrics, elsewhere nothing."""
        return LOOPBACK if _is_loopback(self.host) and not self.closed else Openness()


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return False


@contextlib.contextmanager
def service(settings: Settings, options: Options) -> Iterator[Service]:
    """The server's parts, running, until the block ends. The HTTP application itself closes engine and log."""
    ledger = Ledger(settings)
    access = Access(lambda: keys.all(ledger.engine), settings.home / "serving" / "keys.json")
    live = Live()
    traffic = TrafficLog(
        settings.home,
        on_closed=lambda segment: segments.record(ledger.engine, segment),
        segment_s=options.segment_s,
        days=lambda slug: _retention_days(live, slug),
        on_pruned=lambda kept_since: segments.forget(ledger.engine, kept_since),
        others_clock=ledger.clock,
    )
    follower = Follower(live, LedgerReleases(settings, ledger, traffic.node), settings.home, options.poll_s)
    made = Service(
        live=live,
        batcher=Batcher(queue_tokens=options.limits.queue_tokens),
        log=traffic,
        access=access,
        rates=Rates(),
        lineage=lambda slug, generation: lineage(ledger.engine, slug, generation),
        history=lambda slug: releases.history(ledger.engine, slug),
        limits=options.limits,
        openness=options.openness,
        review=Review(settings.home, lambda slug: _answering(live, slug)),
        picks=Picks.of(settings.home),
        salt=settings.subject_salt,
    )
    access.start()
    follower.start()
    try:
        yield made
    finally:
        follower.stop()
        access.stop()
        silence.hang_up()  # or threads that wait for the ledger would hold the end up


def _answering(live: Live, slug: str) -> Answering | None:
    served = live.get(slug)
    return Answering(served.release.generation, served.labels) if served else None


def _retention_days(live: Live, slug: str) -> int | None:
    """What the project's file says; ``None``, which removes nothing, while its release is not here yet."""
    served = live.get(slug)
    return served.about.get("retention_days") if served else None


def serve(settings: Settings, options: Options, on_listening: Callable[[], object] = lambda: None) -> None:
    """Serve until SIGTERM or SIGINT; what was accepted is finished first. ``on_listening`` is called once it listens.

    Raises :class:`EvertuneError` where it cannot listen.
    """
    import uvicorn

    from evertune.serving.http.server import Server

    # The engine's thread comes back from computing while the event loop is busy: it must not wait long for its turn.
    sys.setswitchinterval(0.0005)
    with service(settings, options) as made:
        config = uvicorn.Config(
            app(made),
            host=options.host,
            port=options.port,
            loop="uvloop",
            log_level="warning",
            access_log=False,
            server_header=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=int(options.limits.deadline_s) + 5,
        )
        Server(config, made, on_listening=on_listening).run()
