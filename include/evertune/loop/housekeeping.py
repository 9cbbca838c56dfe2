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

from datetime import datetime, timedelta

import structlog
from sqlalchemy import Engine

from evertune import files, jobs
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases, runs, windows
from evertune.ledger.runs import RunEntry
from evertune.loop import reference
from evertune.records import EvertuneError, Release, RunStatus
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
    for part in (_runs, _references, _bundles):
        try:
            part(engine, settings, slug, needed)
        except (OSError, files.BusyError) as fault:
            log.warning("housekeeping.later", project=slug, reason=str(fault))


def _needed(engine: Engine, slug: str) -> list[Release]:
    """The release that answers, and the one that a rollback would go back to, where there are such."""
    current = releases.current(engine, slug)
    if current is None:
        return []
    try:
        return [current, promote.target(engine, slug)]
    except EvertuneError:  # none to go back to
        return [current]


def _runs(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    folders = [settings.runs, settings.jobs]
    for folder in folders:
        files.sweep(folder)
    names = {path.name for folder in folders for path in folder.glob(f"{slug}-*")}
    found = [run for name in names if (run := runs.get(engine, name)) is not None and run.project == slug]
    found.sort(key=lambda run: run.created, reverse=True)
    with ledger_engine.reading(engine) as session:
        now = ledger_engine.clock(session)
    live = {release.run_key for release in needed}
    for run in found[RUNS:]:
        if run.key not in live and _is_over(run, now) and jobs.remove(settings, run.key):
            if (settings.runs / run.key).exists():
                files.remove_folder(settings.runs / run.key)
            log.info("housekeeping.run", run=run.key)


def _is_over(run: RunEntry, now: datetime) -> bool:
    """Whether nobody waits for the run, nor wants to know why it failed."""
    if run.ended is None or run.status is RunStatus.AWAITING_APPROVAL:
        return False
    return run.status is not RunStatus.FAILED or run.ended < now - FAILED_FOR


def _references(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    folder = reference.folder_of(settings, slug, 0).parent
    if not folder.is_dir():
        return
    with files.lock(folder / ".lock"):  # as whoever makes one
        files.sweep(folder)
        there = sorted(int(path.name) for path in folder.iterdir() if path.name.isdecimal())
        keep = {number for release in needed for number in reference.needed(engine, settings, release)}
        untested = windows.untested(engine, slug)  # the oldest, and generations only rise
        for number in there[:-REFERENCES]:
            if number not in keep and (untested is None or number < untested.generation):
                files.remove_folder(reference.folder_of(settings, slug, number))
                log.info("housekeeping.reference", project=slug, generation=number)


def _bundles(engine: Engine, settings: Settings, slug: str, needed: list[Release]) -> None:
    """Those that were fetched to be judged against."""
    folder = settings.home / "bundles"
    files.sweep(folder)
    keep = {one.digest for one in [*needed, *releases.current_of_all(engine).values()]}
    for digest in {one.digest for one in releases.history(engine, slug)} - keep:
        if (folder / digest).is_dir():
            files.remove_folder(folder / digest)
            log.info("housekeeping.bundle", project=slug, digest=digest)
