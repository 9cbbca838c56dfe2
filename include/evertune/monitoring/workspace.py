"""The reports in Evidently's own interface: a workspace of files, an Evidently project a project of ours.

Written without Evidently, which takes seconds to import: a snapshot is a file that :mod:`.report` has made. Ids are
made of names, so that adding a window twice, or from two places at once, adds it once. A file comes into its place
whole and by a link, never by a rename: the interface watches for new files and does not see renamed ones, and it
refuses to start where one of them is torn.
"""

from __future__ import annotations

import contextlib
import json
import os
import tempfile
import uuid
from pathlib import Path

from evertune import files
from evertune.monitoring.report import SNAPSHOT
from evertune.records.traffic import Signal, Window

_OURS = uuid.UUID("6f0d9f3a-8f0c-5d3b-9d55-4b1f9f6d2c11")
"""Namespace of the ids that are made here."""
KEPT = 100
"""Newest windows of a project that the interface shows: it holds each of them in memory, some megabytes."""


def project_id(slug: str) -> str:
    """Evidently's id of a project."""
    return str(uuid.uuid5(_OURS, slug))


def snapshot_id(slug: str, number: int) -> str:
    """Evidently's id of a window's report."""
    return str(uuid.uuid5(_OURS, f"{slug}/{number}"))


def add(workspace: Path, window: Window, report: Path) -> str:
    """Add the report in the folder ``report`` and return its path within the interface's address.

    Does nothing where it is there; the report of a window that was tested again takes the earlier one's place. Raises
    :class:`CorruptError` where the folder is not what was written.
    """
    folder = workspace / project_id(window.project)
    (folder / "snapshots").mkdir(parents=True, exist_ok=True)
    files.verify(report)
    _put(folder / "dashboard.json", json.dumps(_dashboard(window.project)).encode())
    _put(folder / "metadata.json", json.dumps(_project(window.project), indent=2).encode())
    snapshot = folder / "snapshots" / f"{snapshot_id(window.project, window.number)}.json"
    data = (report / SNAPSHOT).read_bytes()
    if snapshot.exists() and snapshot.read_bytes() != data:
        snapshot.unlink(missing_ok=True)  # the interface sees that one goes and one comes, not that one is replaced
    _put(snapshot, data)
    snapshot.with_name(f"{snapshot_id(window.project, window.number - KEPT)}.json").unlink(missing_ok=True)
    return path_of(window)


def path_of(window: Window) -> str:
    """Where the interface shows the window's report: what follows its address."""
    return f"/projects/{project_id(window.project)}/reports/{snapshot_id(window.project, window.number)}"


def _put(path: Path, data: bytes) -> None:
    if path.exists():
        return
    descriptor, name = tempfile.mkstemp(prefix=".new.", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        Path(name).chmod(0o644)
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        Path(name).unlink(missing_ok=True)
    files.fsync(path.parent)


def _project(slug: str) -> dict[str, object]:
    return {
        "id": project_id(slug),
        "name": slug,
        "description": "Windows of traffic against what the release knows.",
        "org_id": None,
        "version": "2",
    }


def _dashboard(slug: str) -> dict[str, object]:
    """Each signal's effect, window by window, and the rows of each."""
    lines = [_line(signal.value, "SignalDrift", {"signal": signal.value}) for signal in Signal]
    effects = _panel(
        slug, "Effect of each signal", "Drift is what raised an alert: see the reports with that tag.", lines
    )
    rows = _panel(slug, "Answers", "Of each window; at most 10,000 are drawn.", [_line("rows", "RowCount", {})])
    panels = [effects, rows]
    tab = {"id": _id(slug, "tab"), "title": "Drift", "panels": [panel["id"] for panel in panels]}
    return {"tabs": [tab], "panels": panels}


def _line(legend: str, metric: str, labels: dict[str, str]) -> dict[str, object]:
    return {
        "legend": legend,
        "tags": [],
        "metadata": {},
        "metric": f"evidently:metric_v2:{metric}",
        "metric_labels": labels,
        "view_params": {},
    }


def _panel(slug: str, title: str, subtitle: str, lines: list[dict[str, object]]) -> dict[str, object]:
    return {
        "id": _id(slug, title),
        "title": title,
        "subtitle": subtitle,
        "size": "full",
        "values": lines,
        "plot_params": {"plot_type": "line"},
    }


def _id(slug: str, what: str) -> str:
    return str(uuid.uuid5(_OURS, f"{slug}//{what}"))
