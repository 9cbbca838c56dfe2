"""Feedback that other processes of this home keep: ``evertune labels import``, servers beside this one.

Theirs comes to light as files in the hours of answers. Which are new the times of the folders tell, so that a look
costs one ``stat`` an hour of traffic that is kept, and nothing is remembered but what came last.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from evertune.serving.log import parquet, reading
from evertune.serving.log.nodes import tag_in
from evertune.serving.log.records import StoredFeedback

SLACK_S = 600.0
"""So much may lie between a file's time and the look that finds it: slow drains, clocks of other machines."""
_NAME = re.compile(rf"([0-9a-f]{{16}})\.{parquet.FEEDBACK}\.parquet")


class Elsewhere:
    """One project's feedback files of all nodes but this one's, each given once."""

    def __init__(self, traffic: Path, project: str, mine: int) -> None:
        """``mine``: the tag of this server's node. What is there now is left out: read it behind this call."""
        self._folder, self._mine = traffic / reading.PARQUET / project, mine
        self._looked = time.time()
        self._seen = self._recent()

    def look(self, since: datetime) -> list[StoredFeedback]:
        """What has come to light since the last look and was given from ``since`` on. Reads the disk."""
        now, recent = time.time(), self._recent()
        new = sorted(recent - self._seen, key=lambda path: path.name)
        rows = [row for path in new for row in reading.read_feedback([path]) if row.feedback.at >= since]
        # The next look reaches no further back than these.
        self._looked, self._seen = now, recent
        return rows

    def _recent(self) -> set[Path]:
        oldest = self._looked - SLACK_S
        return {path for hour in _changed(self._folder, oldest) for path in self._files(hour, oldest)}

    def _files(self, hour: str, oldest: float) -> Iterator[Path]:
        for entry in _entries(hour):
            named = _NAME.fullmatch(entry.name)
            if named and tag_in(int(named[1], 16)) != self._mine and _mtime(entry) >= oldest:
                yield Path(entry.path)


def _changed(project: Path, oldest: float) -> Iterator[str]:
    """The hours in which something was put or removed since then."""
    for day in _entries(project):
        yield from (hour.path for hour in _entries(day.path) if _mtime(hour) >= oldest)


def _entries(folder: str | Path) -> list[os.DirEntry[str]]:
    try:
        with os.scandir(folder) as entries:
            return list(entries)
    except (FileNotFoundError, NotADirectoryError):  # nothing yet, pruned meanwhile, or somebody's notes
        return []


def _mtime(entry: os.DirEntry[str]) -> float:
    try:
        return entry.stat().st_mtime
    except FileNotFoundError:
        return 0.0
