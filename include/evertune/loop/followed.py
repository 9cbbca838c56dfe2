"""What a server follows: the ledger's releases, and the models behind them out of MLflow."""

from __future__ import annotations

import math
import threading
import time
from datetime import datetime
from pathlib import Path

import structlog
from sqlalchemy import Engine

from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases, servers, steps
from evertune.loop.lineage import of_release
from evertune.loop.release import check_signature
from evertune.project.load import find, load
from evertune.project.options import Serving
from evertune.records import EvertuneError, JsonObject, Release, Step, UnreachableError
from evertune.serving.engine import build
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import Served
from evertune.serving.engine.served import load as load_served
from evertune.serving.engine.warm import warm
from evertune.serving.origin import Fetched
from evertune.serving.shelf import ENGINE, Shelf
from evertune.settings import Settings

log = structlog.get_logger(__name__)


class Ledger:
    """The ledger of a process that must live on without it: connected when it is first there."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._engine: Engine | None = None
        self._connecting = threading.Lock()
        self._failed = (-math.inf, "")
        """When connecting failed last, and why."""

    @property
    def engine(self) -> Engine:
        """The engine. Raises :class:`UnreachableError` while there is no database.

        Who comes while another thread finds that out does not find it out once more: a database that takes connections
        and says nothing costs ten seconds a try, and the last good release answers behind the first.
        """
        came = time.monotonic()
        with self._connecting:
            if self._engine is None:
                failed, why = self._failed
                if failed > came:
                    raise UnreachableError(why)
                try:
                    self._engine = ledger_engine.ready(self._settings.database_url)
                except UnreachableError as fault:
                    self._failed = time.monotonic(), str(fault)
                    raise
            return self._engine

    def clock(self) -> datetime:
        """The database's time. Raises :class:`UnreachableError` while there is no database."""
        with ledger_engine.reading(self.engine) as session:
            return ledger_engine.clock(session)


class LedgerReleases:
    """The releases as :class:`evertune.serving.follower.Follower` wants them."""

    def __init__(self, settings: Settings, ledger: Ledger, server: str) -> None:
        """``server`` is this server's name in the ledger, the same after a restart."""
        self._settings, self._ledger, self._server = settings, ledger, server

    def current(self) -> dict[str, Release]:
        """The release that answers in each project."""
        return releases.current_of_all(self._ledger.engine)

    def fetch(self, release: Release, to: Path) -> Fetched:
        """The release's bundle and what is checked with it, in ``to``.

        Raises :class:`CorruptError` where it is not what was signed and released, and :class:`UnreachableError` where
        MLflow has it not: whoever moved it away may put it back.
        """
        from evertune.releases.mlflow.store import MissingError

        try:
            return self._fetch(release, to)
        except EvertuneError as fault:
            if isinstance(fault, MissingError) or isinstance(fault.__cause__, MissingError):
                raise UnreachableError(str(fault)) from fault
            raise

    def _fetch(self, release: Release, to: Path) -> Fetched:
        from evertune.releases import mlflow

        slug, version, settings = release.project, release.model_version, self._settings
        check_signature(slug, version, release.digest, settings)
        bundle = mlflow.fetch(settings, slug, version, release.digest, to / "bundle")
        options = self._options(release)
        return Fetched(
            bundle=bundle,
            checks=mlflow.fetch_checks(settings, slug, version, to / "checks.parquet"),
            about=self._about(release, options),
            allowed_loss=(options or Serving()).int8.allowed_loss,
        )

    def report(self, slug: str, generation: int | None, engine: EngineReport | None, refusal: str | None) -> None:
        """Tell the ledger what this server answers with, or what it refused and why."""
        told = engine.model_dump(mode="json") if engine else None
        if refusal is None:
            servers.report(self._ledger.engine, self._server, slug, generation, told)
            return
        before = {one.server: one for one in servers.all(self._ledger.engine, slug)}.get(self._server)
        answers, built = (before.generation, before.engine) if before else (None, None)
        servers.report(self._ledger.engine, self._server, slug, answers, built, generation, refusal)

    def _options(self, release: Release) -> Serving | None:
        """How the project is to be served; ``None`` where nobody knows.

        By its file as it is now, not as it was at the training: how a model is served may change without a new one.
        Where that cannot be read, as the run has frozen it: traffic that was to stay must not go for a slip in a file.
        """
        try:
            return load(find(release.project, self._settings)).serving
        except EvertuneError as fault:
            claimed = steps.result(self._ledger.engine, release.run_key, Step.CLAIM) or {}
            frozen = claimed.get("project", {}).get("serving")
            log.warning(
                "serving.project_file", project=release.project, reason=str(fault),
                options="defaults" if frozen is None else "those of the release's run",
            )  # fmt: skip
            return None if frozen is None else Serving.model_validate(frozen)

    def _about(self, release: Release, options: Serving | None) -> JsonObject:
        from evertune.releases import mlflow

        known = of_release(self._ledger.engine, release)
        return {
            "card": mlflow.fetch_card(self._settings, release.project, release.model_version),
            "metrics": (known["evaluation"] or {}).get("challenger") or {},
            "data_version": known["dataset_version"],
            "log_unavailable": (options or Serving()).log_unavailable.value,
            "retention_days": options.retention_days if options else None,
        }


def served_here(settings: Settings, release: Release) -> Served:
    """The release in this process, by the same files and the same engine as a server of this home has.

    Raises :class:`CorruptError` where it does not verify or does not warm, as a server would refuse it.
    """
    shelf = Shelf(settings.home, release.project)
    with shelf.locked():
        shelf.clear(release.generation)  # no server may ever do it in this home
        place = shelf.place(release.generation)
        place.mkdir(parents=True, exist_ok=True)
        fetched = LedgerReleases(settings, Ledger(settings), "").fetch(release, place)
        build.build(fetched.bundle, release.digest, fetched.checks, fetched.allowed_loss, place / ENGINE)
        served = load_served(fetched.bundle, release.digest, place / ENGINE, release, fetched.about)
        warm(served, fetched.checks)
        return served
