"""A run that this process may work on, and each of its steps done once."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from dataclasses import dataclass

import structlog
from sqlalchemy import Engine

from evertune import files
from evertune.data import versions
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs, steps
from evertune.loop.lease import keep_lease
from evertune.project import Project
from evertune.records import JsonObject, Run, Step, UnreachableError
from evertune.settings import Settings

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Held:
    """A run that this process may work on, with what every step needs."""

    run: Run
    engine: Engine
    settings: Settings
    project: Project
    """As it was when the run was claimed: later edits of the file wait for the next run."""

    @property
    def workspace(self) -> versions.Workspace:
        """The run's DVC workspace."""
        return versions.Workspace(self.settings.runs / self.run.key, self.project.slug, self.settings)


def hold(run_key: str, owner: str, settings: Settings) -> Held:
    """The run, if it is this owner's. Raises :class:`StaleError` where it went to somebody else meanwhile."""
    engine = ledger_engine.ready(settings.database_url)
    run = runs.held(engine, run_key, owner)
    return Held(run, engine, settings, _project(settings, run_key))


def _project(settings: Settings, run_key: str) -> Project:
    path = settings.runs / run_key / "project.json"
    try:
        return Project.model_validate(files.read_json(path))
    except FileNotFoundError as fault:
        raise UnreachableError(
            f"{path} is not on {socket.gethostname()}: run {run_key} was begun on another machine, or its folder was "
            "removed. All steps of a run need the same EVERTUNE_HOME: let one machine do them all, or give the "
            "machines a volume that they share."
        ) from fault


def once(held: Held, step: Step, work: Callable[[], JsonObject]) -> JsonObject:
    """Do ``work`` and record it, or return what was recorded before."""
    if (done := steps.result(held.engine, held.run.key, step)) is not None:
        log.info("done before", run=held.run.key, step=step.value)
        return done
    started = time.monotonic()
    with keep_lease(held.engine, held.run, held.settings.lease_s):
        result = work()
    return steps.record(held.engine, held.run, step, result, time.monotonic() - started)
