"""Labels for who counts them one by one, window after window: each once, whenever it came into the log.

A label is dated by a server's clock, before it is on the disk. So it may come into the log after the labels of its time
were counted: where that server is behind, or a large import takes its time. By its date alone it would be in no count.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from evertune.serving.log.ids import decode, hex_of, hour_of
from evertune.serving.log.labels import EVER, Labelled, all_said, final, fresh_feedback, labels_given, with_answers
from evertune.serving.log.records import StoredFeedback

LATE = timedelta(days=1)
"""A label that is in the log so long after its date is found: clocks differ, and a large import takes its time."""
Marks = dict[str, int]
"""Which of the labels dated lately were in the log: segment and hour of the answer → the last one's offset."""


class Counted(NamedTuple):
    """What who counts label by label has counted already: what was dated before ``until`` and in the log by then."""

    until: datetime
    marks: Marks | None = None
    """As the count before left them; ``None``: all that is dated before ``until`` was counted."""

    def has(self, row: StoredFeedback) -> bool:
        """Whether the label was counted."""
        if row.feedback.at >= self.until:
            return False
        if self.marks is None or row.feedback.at < self.until - LATE:
            return True
        return row.offset <= self.marks.get(_mark(row), -1)


class News(NamedTuple):
    """Labels to be counted, and what to pass on to the next count."""

    found: list[Labelled]
    marks: Marks


def news(traffic: Path, project: str, counted: Counted | None, until: datetime, classes: Collection[str] = ()) -> News:
    """The answers whose label, of those dated before ``until``, is another than what was counted, or the first one.

    Each label is counted once, though its date is that of a server's clock and it may come into the log after labels of
    the same time were counted. A label that is sent again is no second proof.
    """
    fresh = fresh_feedback(traffic, project)
    since = EVER if counted is None else counted.until - LATE
    # By one reading of the log: what comes into it meanwhile is for the next count.
    labels = {row.id: row for row in labels_given(traffic, project, fresh, since, until, classes)}
    new = {row.feedback.prediction_id for row in labels.values() if counted is None or not counted.has(row)}
    finals = {}
    for id_, rows in all_said(traffic, project, fresh, new, until).items():
        known = [row for row in rows if row.id in labels or row.feedback.at < since]
        before = None if counted is None else final([row for row in known if counted.has(row)], classes)
        now = final(known, classes)
        if now is not None and (before is None or before.label != now.label):
            finals[id_] = now
    return News(with_answers(traffic, project, finals), _marks(labels.values(), until))


def _marks(labels: Iterable[StoredFeedback], until: datetime) -> Marks:
    marks: Marks = {}
    for row in labels:
        if row.feedback.at >= until - LATE:
            place = _mark(row)
            marks[place] = max(marks.get(place, -1), row.offset)
    return marks


def _mark(row: StoredFeedback) -> str:
    """What is read as a whole: a file of Parquet, or of a segment that is being written what has got there by then."""
    about = decode(row.feedback.prediction_id)
    return f"{hex_of(row.segment)} {hour_of(about.second) if about else ''}"
