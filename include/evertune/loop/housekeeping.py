"""What runs and releases leave below the home, and what of it goes: all that is no longer needed but the newest.

Kept of each project:

- what the release that answers needs, and the one that a rollback would go back to: their runs with their jobs, their
  bundles, and the references that tell what they know;
- runs that go on or await a person's approval, and every job at which a worker is still at work;
- the newest twenty runs that left anything. A run goes on from what a failed one has trained, as far back as these;
- runs that failed, with the logs of their jobs, for thirty days;
- the newest three references, and those of windows that are not tested yet.

All else can be had again: data sets from DVC's remote, models and pictures from MLflow, numbers and verdicts from the
ledger. A run clears up when it begins, before it takes room itself and while no other of its project can be at work.
Each folder goes in one step, so that a kill leaves it whole or gone.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import structlog
from sqlalchemy import Engine

from evertune import files, jobs
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases, runs, windows
from evertune.ledger.runs import RunEntry
from evertune.loop import reference
from evertune.records import Release, RunStatus
from evertune.releases import promote
from evertune.settings import Settings

RUNS = 20
FAILED_FOR = timedelta(days=30)
REFERENCES = 3
log = structlog.get_logger(__name__)


def clear(engine: Engine, settings: Settings, slug: str) -> None:
    """Remove what is not kept of the project. Called by whoever has just claimed a run of it.

    What cannot be removed is logged and tried again by the next run: it only takes room.
    """
    needed = _needed(engine, slug)
    _runs(engine, settings, slug, needed)
    _references(engine, settings, slug, needed)
    _bundles(engine, settings, slug, needed)


@contextlib.contextmanager
def _later(what: Path) -> Iterator[None]:
    """One thing that cannot be removed is told and holds up neither the run nor what is older."""
    try:
        yield
    except (OSError, files.BusyError) as fault:
        log.warning("housekeeping.later", folder=str(what), reason=str(fault))


def _sweep(folder: Path) -> None:
    for left in files.sweep(folder):
        log.warning("housekeeping.later", folder=str(left), reason="not all of it may be removed by who runs this")


def _remove(folder: Path) -> None:
    # A link was put there by a person, who has the folder on another disk and clears up there.
    if folder.is_dir() and not folder.is_symlink():
        files.remove_folder(folder)
        log.info("housekeeping.removed", folder=str(folder))


def _needed(engine: Engine, slug: str) -> list[Release]:
    """The release that answers, and the one that a rollback would go back to, where there are such."""
    current = releases.current(engine, slug)
    if current is None:
        return []
    try:
        return [current, promote.target(engine, slug)]
    except promote.NothingBeforeError:
        return [current]


def _runs(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    folders = [settings.runs, settings.jobs]
    for folder in folders:
        _sweep(folder)
    names = {path.name for folder in folders for path in folder.glob(f"{slug}-*")}
    found = [run for name in names if (run := runs.get(engine, name)) is not None and run.project == slug]
    found.sort(key=lambda run: run.created, reverse=True)
    with ledger_engine.reading(engine) as session:
        now = ledger_engine.clock(session)
    live = {release.run_key for release in needed}
    for run in found[RUNS:]:
        if run.key in live or not _is_over(run, now):
            continue
        with _later(settings.jobs / run.key):
            if jobs.remove(settings, run.key):
                _remove(settings.runs / run.key)


def _is_over(run: RunEntry, now: datetime) -> bool:
    """Whether nobody waits for the run, nor wants to know why it failed."""
    if run.ended is None or run.status is RunStatus.AWAITING_APPROVAL:
        return False
    return run.status is not RunStatus.FAILED or run.ended < now - FAILED_FOR


def _references(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    folder = reference.folder_of(settings, slug, 0).parent
    if not folder.is_dir():
        return
    with _later(folder), files.lock(folder / ".lock"):  # as whoever makes one
        _sweep(folder)
        there = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        keep = {number for release in needed for number in reference.needed(engine, settings, release)}
        untested = windows.untested(engine, slug)  # the oldest, and generations only rise
        for number in there[:-REFERENCES]:
            if number not in keep and (untested is None or number < untested.generation):
                with _later(folder / str(number)):
                    _remove(folder / str(number))


def _bundles(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    """Those that were fetched to be judged against."""
    folder = settings.home / "bundles"
    _sweep(folder)
    keep = {one.digest for one in [*needed, *releases.current_of_all(engine).values()]}
    for digest in {one.digest for one in releases.history(engine, slug)} - keep:
        with _later(folder / digest):
            _remove(folder / digest)
