"""Where the reports of windows go: a folder each, Evidently's workspace, and MLflow for those that people look for.

A report is some megabytes. So those that raised an alert, and one a day, are kept in MLflow; on the disk the newest
hundred stay.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Engine

from evertune.ledger import alerts, releases, windows
from evertune.ledger import engine as ledger_engine
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project import Project
from evertune.records import EvertuneError, Evidence, Explanation, Finding, Signal, Window
from evertune.settings import Settings

KEPT = 100
OFTEN = timedelta(days=1)
log = structlog.get_logger(__name__)


class Seen(NamedTuple):
    """What the verdict on a window rests on."""

    known: Reference
    answers: Sample
    labelled: Sample


class Verdict(NamedTuple):
    """What was found in a window."""

    findings: Sequence[Finding]
    raised: Sequence[Signal]
    after: Evidence
    explanation: Explanation | None


def folder_of(settings: Settings, slug: str, number: int) -> Path:
    """Where the report of a window lies."""
    return settings.home / "monitoring" / slug / "reports" / f"{number:06}"


def newest(settings: Settings, slug: str) -> str:
    """Address of the newest report; empty where none of the latest windows has one."""
    told = windows.history(ledger_engine.ready(settings.database_url), slug)
    return next((one.report for one in reversed(told) if one.report), "")


def report(  # noqa: PLR0917 - whose, where, of what
    engine: Engine, project: Project, settings: Settings, about: Window, seen: Seen, verdict: Verdict
) -> str:
    """Write the window's report; returns its address: MLflow's where it is there, else Evidently's web UI's.

    Without that UI (`EVERTUNE_EVIDENTLY_UI`) it is the file's path. Empty where the report could not be made: the
    verdict must not wait for a picture of it.
    """
    try:
        page = _written(settings, about, seen, verdict)
    except Exception:
        log.exception("monitor.no_report", project=about.project, window=about.number)
        return ""
    shutil.rmtree(folder_of(settings, about.project, about.number - KEPT), ignore_errors=True)
    shown = _shown(settings, about, page)
    standing = alerts.standing(engine, about.project)
    raises = bool(set(verdict.raised) - set(standing.signals if standing else ()))
    if not raises and _lately(engine, about, page.parent.parent):
        return shown
    try:
        return _published(engine, project, settings, about, page)
    except (EvertuneError, OSError) as fault:
        log.warning("monitor.report_not_published", project=about.project, window=about.number, reason=str(fault))
        return shown


def _shown(settings: Settings, about: Window, page: Path) -> str:
    from evertune.monitoring import workspace

    return f"{settings.evidently_ui.rstrip('/')}{workspace.path_of(about)}" if settings.evidently_ui else str(page)


def _written(settings: Settings, about: Window, seen: Seen, verdict: Verdict) -> Path:
    from evertune.monitoring import report as reports
    from evertune.monitoring import workspace

    folder = folder_of(settings, about.project, about.number)
    page = reports.write(
        about, *seen, verdict.findings, folder,
        raised=verdict.raised, evidence=verdict.after, explanation=verdict.explanation,
    )  # fmt: skip
    workspace.add(settings.home / "evidently", about, folder)
    return page


def _lately(engine: Engine, about: Window, here: Path) -> bool:
    """Whether a report was published less than a day before: its address is neither a file ``here`` nor Evidently's."""
    from evertune.monitoring import workspace

    earlier = [one for one in windows.history(engine, about.project, KEPT) if one.report]
    elsewhere = [one for one in earlier if not one.report.startswith(f"{here}/")]
    published = [one for one in elsewhere if not one.report.endswith(workspace.path_of(one))]
    return any(about.created - one.created < OFTEN for one in published)


def _published(engine: Engine, project: Project, settings: Settings, about: Window, page: Path) -> str:
    """Put the page beside the run that made the release; returns its address."""
    from evertune.releases import mlflow

    history = releases.history(engine, project.slug)
    run_key = next(release.run_key for release in history if release.generation == about.generation)
    tracked = mlflow.start_run(settings, project, run_key, {})
    path = f"monitoring/window-{about.number:06}"
    try:
        mlflow.log_folder(settings, tracked, page, path)
    finally:
        mlflow.end_run(settings, tracked)
    return mlflow.artifact_link(settings, tracked, f"{path}/{page.name}")
