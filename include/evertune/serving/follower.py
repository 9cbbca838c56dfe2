"""The server follows the ledger: a new release is fetched aside, verified, converted, warmed, and only then answers.

Everything that can go wrong goes wrong before the switch, so a release that is not good never answers: the old one
stays, and the ledger's table of servers, ``status`` and ``/metrics`` say why. A boot needs nothing but the local disk.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

from evertune import files
from evertune.records import EvertuneError, Release
from evertune.serving import shelf
from evertune.serving.aside import Aside
from evertune.serving.engine import build
from evertune.serving.engine.served import Served, load
from evertune.serving.engine.warm import warm
from evertune.serving.leaving import Leaving
from evertune.serving.live import Live
from evertune.serving.origin import Releases
from evertune.serving.reports import Reports
from evertune.serving.shelf import Kept, Shelf

log = logging.getLogger(__name__)

FIRST_RETRY_S, RETRY_S = 10.0, 600.0
"""A release that was refused because something was away or full is tried again after this time, which doubles from the
first to the last: most outages are short, and a try may cost a download."""
STOP_S = 5.0
"""How long an end waits for the thread: a download cannot be interrupted, and what a kill leaves is never used."""


_Do = Callable[[str, Callable[[], None]], None]
"""Does something for a project: at once, or aside."""


def _at_once(_slug: str, work: Callable[[], None]) -> None:
    work()


class _Refused(NamedTuple):
    generation: int
    pause: float
    again: float
    """When it may be tried again, by the follower's clock."""


class Follower:
    """A thread that keeps :class:`Live` at the newest release of each project, each fetched in one of its own."""

    def __init__(
        self,
        live: Live,
        releases: Releases,
        home: Path,
        poll_s: float = 2.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._live = live
        self._releases = releases
        self._home = home
        self._poll_s = poll_s
        self._clock = clock
        self._refused: dict[str, _Refused] = {}
        self._reports = Reports(releases.report, clock)
        self._leaving = Leaving()
        self._stop = threading.Event()
        self._aside = Aside(self._stop)
        self._thread: threading.Thread | None = None

    def boot(self) -> None:
        """Let each project's last good release answer, from the local disk, and then what the ledger says.

        The disk comes first, so that the server answers while a newer release is still being converted.
        """
        self._begin(_at_once)

    def start(self) -> None:
        """Boot and then poll, in a thread of its own; no project waits for another one there."""
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def stop(self, wait_s: float = STOP_S) -> None:
        """Stop polling; a conversion that runs is ended. A thread that still hangs then ends with the process."""
        self._stop.set()
        deadline = time.monotonic() + wait_s
        if self._thread is not None:
            self._thread.join(wait_s)
            if self._thread.is_alive() or not self._aside.join(max(0.0, deadline - time.monotonic())):
                log.warning("following the releases did not end within %g s; it is not waited for", wait_s)

    def tick(self) -> None:
        """One poll, and all that it asks for."""
        self._poll(_at_once)

    def _run(self) -> None:
        step = self._begin
        while True:
            try:
                step(self._aside.begin)
                step = self._poll
            except Exception:  # the server goes on answering with what it has
                log.exception("following the releases failed; the next poll tries again")
            if self._stop.wait(self._poll_s):
                return

    def _begin(self, do: _Do) -> None:
        newest = self._newest()
        for slug in shelf.slugs(self._home):
            if newest is None or slug in newest:
                do(slug, partial(self._boot, slug, None if newest is None else newest[slug]))
        if newest is not None:
            self._follow(newest, do)

    def _poll(self, do: _Do) -> None:
        self._leaving.look()
        newest = self._newest()
        if newest is not None:
            self._follow(newest, do)

    def _newest(self) -> dict[str, Release] | None:
        try:
            newest = self._releases.current()
        except Exception as fault:  # noqa: BLE001 - away, of another version, at fault: the disk has what answered before
            if self._live.away is None:
                log.warning("the ledger cannot be read; what answers goes on answering: %s", fault)
            self._live.away = str(fault) or type(fault).__name__
            return None
        self._live.away, self._live.released = None, frozenset(newest)
        return newest

    def _follow(self, newest: dict[str, Release], do: _Do) -> None:
        for slug, release in newest.items():
            if self._stop.is_set():
                return
            if self._wanted(release):
                do(slug, partial(self._install, release))
            self._reports.send(slug)

    def _wanted(self, release: Release) -> bool:
        served, refused = self._live.get(release.project), self._refused.get(release.project)
        if served is not None and served.release.generation >= release.generation:
            return False
        return refused is None or refused.generation != release.generation or self._clock() >= refused.again

    # -- from the local disk

    def _boot(self, slug: str, newest: Release | None) -> None:
        shelf_ = Shelf(self._home, slug)
        try:
            with shelf_.locked(self._stop):
                for kept in shelf_.candidates():
                    if (newest is None or _may_answer(kept.release, newest)) and self._boot_from(shelf_, kept):
                        return
        except build.StoppedError:
            return
        except Exception:  # whatever is the matter with this folder, the other projects have theirs
            log.exception("nothing on disk is used of %s", slug)

    def _boot_from(self, shelf_: Shelf, kept: Kept) -> bool:
        release = kept.release
        try:
            served = self._load(shelf_, kept)
        except build.StoppedError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever a damaged release does, another one may be whole
            log.warning("generation %s of %s on disk is not used: %s", release.generation, release.project, fault)
            return False
        self._live.switch(served)
        self._reports.answers(release.project, release.generation, served.engine)
        return True

    def _load(self, shelf_: Shelf, kept: Kept) -> Served:
        """The release from its folder, every byte verified; an engine that is damaged is built anew from the bundle."""
        place = shelf_.place(kept.release.generation)
        checks = self._checks(place, kept)
        bundle, engine = place / shelf.BUNDLE, place / shelf.ENGINE
        with self._aside.converting():
            build.build(bundle, kept.release.digest, checks, kept.allowed_loss, engine, self._stop)
        served = load(bundle, kept.release.digest, engine, kept.release, kept.about)
        warm(served, checks)
        return served

    @staticmethod
    def _checks(place: Path, kept: Kept) -> Path | None:
        path = place / shelf.CHECKS
        return path if kept.checks and path.is_file() and files.sha256(path) == kept.checks else None

    # -- from the ledger and MLflow

    def _install(self, release: Release) -> None:
        shelf_ = Shelf(self._home, release.project)
        try:
            with shelf_.locked(self._stop):
                shelf_.clear(release.generation)  # before, to make room, and where this one is refused as well
                served = self._prepare(shelf_, release)
                before = self._live.switch(served)
                shelf_.clear(release.generation)
        except build.StoppedError:
            return
        except Exception as fault:  # noqa: BLE001 - whatever a bad release does, the old one goes on answering
            self._refuse(release, fault)
            return
        if before is not None:
            self._leaving.add(before)
        self._refused.pop(release.project, None)
        self._reports.answers(release.project, release.generation, served.engine)
        log.info("generation %s of %s answers (%s)", release.generation, release.project, served.engine.kind)

    def _prepare(self, shelf_: Shelf, release: Release) -> Served:
        place = shelf_.place(release.generation)
        place.mkdir(parents=True, exist_ok=True)
        fetched = self._releases.fetch(release, place)
        engine = place / shelf.ENGINE
        of = (release.digest, fetched.checks, fetched.allowed_loss)
        for number in reversed(shelf_.generations()):
            if number != release.generation and build.copy(shelf_.place(number) / shelf.ENGINE, *of, engine):
                break
        with self._aside.converting():
            build.build(fetched.bundle, *of, engine, self._stop)
        served = load(fetched.bundle, release.digest, engine, release, fetched.about)
        warm(served, fetched.checks)
        rows = files.sha256(fetched.checks) if fetched.checks else None
        digest = files.digest(engine)
        shelf_.keep(
            Kept(release=release, about=fetched.about, allowed_loss=fetched.allowed_loss, engine=digest, checks=rows)
        )
        return served

    def _refuse(self, release: Release, fault: Exception) -> None:
        reason = str(fault) if isinstance(fault, EvertuneError) else f"{type(fault).__name__}: {fault}"
        passing = isinstance(fault, OSError) or isinstance(fault.__cause__, OSError) or getattr(fault, "retry", False)
        before = self._refused.get(release.project)
        again_refused = before is not None and before.generation == release.generation
        pause = min(2 * before.pause, RETRY_S) if before and again_refused else FIRST_RETRY_S
        again = self._clock() + pause if passing else math.inf
        self._refused[release.project] = _Refused(release.generation, pause, again)
        self._reports.refused(release.project, release.generation, reason)
        self._live.refuse(release.project, release.generation, reason)
        log.error("generation %s of %s is refused: %s", release.generation, release.project, reason)


def _may_answer(kept: Release, newest: Release) -> bool:
    """Whether what is on disk is a release of this ledger: an older generation, or the very newest."""
    return kept.generation < newest.generation or (kept.generation, kept.digest) == (newest.generation, newest.digest)
