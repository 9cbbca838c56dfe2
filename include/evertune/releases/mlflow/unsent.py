"""Metrics that MLflow could not take yet: one file a run, kept until a later call delivers them."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from evertune import files
from evertune.releases.mlflow.store import Point, Store
from evertune.settings import Settings

BATCH = 500
"""Metrics a request; MLflow takes at most 1,000."""


def path_of(settings: Settings, run_id: str) -> Path:
    """The file of the run's unsent metrics."""
    return settings.home / "unsent" / f"{run_id}.jsonl"


def keep(settings: Settings, run_id: str, points: Sequence[Point]) -> None:
    """Append the points to the run's file. Never waits for MLflow."""
    path = path_of(settings, run_id)
    with _file_lock(path), path.open("a", encoding="utf-8") as stream:
        stream.writelines(json.dumps(point) + "\n" for point in points)


def deliver(settings: Settings, store: Store, run_id: str) -> None:
    """Send what was kept and forget it; leaves it to the other one where somebody is delivering already.

    What MLflow had taken before a kill or a lost answer, it takes again as the same: a metric's time is part of it.
    """
    path = path_of(settings, run_id)
    if not path.exists():
        return
    with contextlib.suppress(files.BusyError), files.lock(path.with_suffix(".delivery")):
        while data := _bytes(path):
            send(store, run_id, _points(data))
            with _file_lock(path):
                if rest := path.read_bytes()[len(data) :]:  # came while it was being sent
                    files.write_bytes(path, rest)
                else:
                    path.unlink()


def send(store: Store, run_id: str, points: Sequence[Point]) -> None:
    """Send the points in batches that MLflow accepts."""
    for start in range(0, len(points), BATCH):
        store.log(run_id, points[start : start + BATCH], {})


def _file_lock(path: Path) -> AbstractContextManager[None]:
    """Held only while the file is changed, never while something is sent."""
    return files.lock(path.with_suffix(".lock"), wait=True)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return b""


def _points(data: bytes) -> list[Point]:
    points = []
    for line in data.decode("utf-8", "replace").splitlines():
        with contextlib.suppress(ValueError, TypeError):  # a line torn by a kill
            points.append(Point(*json.loads(line)))
    return points
