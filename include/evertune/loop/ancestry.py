"""Which runs and releases a release comes of, and the alert that one of them answered."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Engine

from evertune.ledger import alerts, releases, runs, windows
from evertune.ledger.alerts_past import AlertEntry
from evertune.records import Release, Window


def line(engine: Engine, release: Release) -> tuple[list[str], list[Window]]:
    """The runs from the release's back to the one that answered an alert, and the windows that had raised it.

    No windows where none of them answered an alert.
    """
    found, alert = runs_back_to_an_alert(engine, release)
    if alert is None:
        return found, []
    return found, [
        window
        for window in windows.history(engine, release.project, None)
        if window.generation == alert.generation and window.number >= alert.window
    ]


def runs_back_to_an_alert(engine: Engine, release: Release) -> tuple[list[str], AlertEntry | None]:
    """The runs from the release's back to the one that answered an alert, and that alert, where there is one.

    Before each run came the one of what answered when it was trained.
    """
    slug, run_key = release.project, release.run_key
    made_by = {one.generation: one.run_key for one in releases.history(engine, slug)}
    found: list[str] = []
    while run_key not in found:
        found.append(run_key)
        for alert in reversed(alerts.absorbed(engine, slug, run_key)):
            return found, alert
        run = runs.get(engine, run_key)
        run_key = made_by.get(run.champion, run_key) if run else run_key
    return found, None


def generations(engine: Engine, release: Release, of: Sequence[str]) -> list[int]:
    """The generations of these runs up to the release's own, newest first."""
    history = releases.history(engine, release.project)
    return [one.generation for one in history if one.run_key in of and one.generation <= release.generation]
