"""Where a window ends: pure, so that every rule can be tested without a log.

The answers come in the order of segments, and in a segment in that of offsets. That is nearly the order of time; what
a server that was away drains late comes first in the next window.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from evertune.project.monitoring_options import WindowOptions
from evertune.records import Part

MOST = 20
"""So many times a window's rows are cut off, whatever they are: answers of an old release must not pile up for ever."""


class Outline(NamedTuple):
    """All answers of a project in one segment, without what they say."""

    generations: Sequence[int]
    answered: Sequence[datetime]
    lost: int = 0
    """Records that cannot be read any more."""


class Pending(NamedTuple):
    """A segment with answers that are in no window yet."""

    segment: str
    hours: dict[str, int]
    """Hour → the project's records in it, feedback included."""
    cut: int
    """Answers that are in a window already."""
    answers: int | None
    """How many there were when they were first counted."""


@dataclass
class Draft:
    """The next window, while it is walked through."""

    generation: int
    """The newest release seen; at first that of the window before."""
    rows: int = 0
    stragglers: int = 0
    parts: list[Part] = field(default_factory=list)
    since: datetime | None = None
    until: datetime | None = None
    next: datetime | None = None
    """When the first answer after it was given; ``None`` where there is none yet."""

    def take(self, segment: str, number: int, generation: int, answered: datetime) -> None:
        """Put the answer into the window. The first one of a newer release makes all before it stragglers."""
        if generation > self.generation:
            self.generation, self.stragglers, self.rows = generation, self.stragglers + self.rows, 0
            self.since = self.until = None
        if generation == self.generation:
            self.rows += 1
            self.since = min(self.since or answered, answered)
            self.until = max(self.until or answered, answered)
        else:
            self.stragglers += 1
        self._extend(segment, number)

    def _extend(self, segment: str, number: int) -> None:
        if self.parts and self.parts[-1].segment == segment:
            number, first = number + 1, self.parts.pop().first
        else:
            number, first = number + 1, number
        self.parts.append(Part(segment=segment, first=first, end=number))

    def ends_before(self, generation: int, answered: datetime, options: WindowOptions) -> bool:
        """Whether the window is whole without this answer."""
        if self.is_full(options):
            return True
        return self.is_enough(options) and (generation > self.generation or self._is_long(answered, options))

    def is_due(self, now: datetime, options: WindowOptions) -> bool:
        """Whether the window is whole although no answer follows."""
        return self.is_full(options) or (self.is_enough(options) and self._is_long(now, options))

    def is_full(self, options: WindowOptions) -> bool:
        """Whether it has all rows of a window."""
        return self.rows >= options.rows or self.rows + self.stragglers >= MOST * options.rows

    def is_enough(self, options: WindowOptions) -> bool:
        """Whether it has so many rows that they could show something."""
        return self.rows >= min(options.fewest_rows, options.rows)

    def _is_long(self, moment: datetime, options: WindowOptions) -> bool:
        return self.since is not None and moment - self.since >= timedelta(hours=options.hours)


def next_window(
    pending: Iterable[tuple[Pending, Outline]], generation: int, now: datetime, options: WindowOptions
) -> Draft | None:
    """The next window out of what is pending, if one is due. ``generation``: that of the window before, or 0.

    Windows are the same however late somebody comes to cut them: what ends one are the answers, ``now`` only the last.
    """
    draft = Draft(generation)
    for segment, outline in pending:
        for number in range(segment.cut, len(outline.generations)):
            release, answered = outline.generations[number], outline.answered[number]
            if draft.ends_before(release, answered, options):
                draft.next = answered
                return draft
            draft.take(segment.segment, number, release, answered)
    return draft if draft.is_due(now, options) else None
