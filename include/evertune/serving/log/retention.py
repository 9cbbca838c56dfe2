"""How long traffic is kept: whole hours of a project go when all of them is older than its setting."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path

from evertune.serving.log.drain import DAMAGED
from evertune.serving.log.nodes import folders
from evertune.serving.log.reading import PARQUET, hours, projects

DAYS = 90
"""Unless a project says otherwise."""


def kept_since(traffic: Path, now: datetime, days_of: Callable[[str], int | None]) -> dict[str, datetime]:
    """Project → its hours that ended before go, so many days ago as ``days_of`` says.

    Those of which that is not known yet (``None``) are left out.
    """
    known = ((project.name, days_of(project.name)) for project in projects(traffic))
    return {slug: now - timedelta(days=days) for slug, days in known if days is not None}


def prune(traffic: Path, now: datetime, kept: Mapping[str, datetime]) -> list[Path]:
    """Remove the hours that ended before their project is kept, as :func:`kept_since` says; returns what was removed.

    Of a project that is not in it nothing goes. A damaged segment may hold any project's texts, so it goes with the
    shortest of them.
    """
    removed = [one for slug, since in kept.items() for one in _prune_hours(traffic / PARQUET / slug, since)]
    shortest = max(kept.values(), default=now - timedelta(days=DAYS))
    return removed + [one for node in folders(traffic) for one in _prune_damaged(node, shortest)]


def _prune_hours(project: Path, until: datetime) -> list[Path]:
    last = (until.astimezone(UTC) - timedelta(hours=1)).strftime("%Y-%m-%d/%H")
    old = [folder for hour, folder in hours(project) if hour <= last]
    for folder in old:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):  # other hours of the day are there still
            folder.parent.rmdir()
    return old


def _prune_damaged(node: Path, until: datetime) -> list[Path]:
    old = [path for path in node.glob(f"*{DAMAGED}") if path.stat().st_mtime < until.timestamp()]
    for path in old:
        path.unlink(missing_ok=True)
    return old
