"""How much is asked and how long answers take: the last hour by the minute, for the page and the quantiles."""

from __future__ import annotations

import time
from bisect import bisect_left
from collections.abc import Callable, Iterable
from typing import NamedTuple

MINUTES = 60
_RATIO = 1.15
BOUNDS_S = tuple(0.0005 * _RATIO**step for step in range(76))
"""Upper ends of the latency classes, half a millisecond to 18 s: a quantile is at most 15% off."""


class Minute(NamedTuple):
    """One minute of a project's traffic, as shown."""

    at: int
    """Unix time of its start."""
    requests: int
    p50_ms: float | None
    p99_ms: float | None


class _Count:
    __slots__ = ("classes", "minute", "requests")

    def __init__(self, minute: int) -> None:
        self.minute, self.requests = minute, 0
        self.classes = [0] * (len(BOUNDS_S) + 1)


class _Hour:
    def __init__(self) -> None:
        self.counts: dict[int, _Count] = {}
        self.last = _Count(-1)

    def at(self, minute: int) -> _Count:
        if self.last.minute != minute:
            self.last = self.counts.setdefault(minute, _Count(minute))
            for old in [one for one in self.counts if one < minute - MINUTES]:
                del self.counts[old]
        return self.last


class Traffic:
    """Requests and latencies by project. Written and read by the loop's thread alone."""

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._clock = clock
        self._hours: dict[str, _Hour] = {}

    def answered(self, project: str, seconds: float) -> None:
        """Count one request and what it took."""
        if (hour := self._hours.get(project)) is None:
            hour = self._hours[project] = _Hour()
        count = hour.at(int(self._clock()) // 60)
        count.requests += 1
        count.classes[bisect_left(BOUNDS_S, seconds)] += 1

    def per_minute(self, project: str) -> float:
        """Requests in the last 60 seconds, the minute before this one taken in part."""
        now = self._clock()
        minute, passed = int(now) // 60, now % 60 / 60
        this, before = (self._requests(project, one) for one in (minute, minute - 1))
        return this + before * (1 - passed)

    def _requests(self, project: str, minute: int) -> int:
        hour = self._hours.get(project)
        return hour.counts[minute].requests if hour and minute in hour.counts else 0

    def quantile_s(self, project: str, share: float, minutes: int = 5) -> float | None:
        """Latency that ``share`` of the requests of the last minutes stayed below; ``None`` without requests."""
        since = int(self._clock()) // 60 - minutes
        hour = self._hours.get(project)
        return _quantile((one for one in hour.counts.values() if one.minute > since), share) if hour else None

    def minutes(self, project: str) -> list[Minute]:
        """The last hour, oldest first, quiet minutes too."""
        last = int(self._clock()) // 60
        counts = self._hours[project].counts if project in self._hours else {}
        return [_shown(minute, counts.get(minute)) for minute in range(last - MINUTES + 1, last + 1)]


def _shown(minute: int, count: _Count | None) -> Minute:
    if count is None:
        return Minute(minute * 60, 0, None, None)
    p50, p99 = (_quantile([count], share) for share in (0.5, 0.99))
    return Minute(minute * 60, count.requests, _ms(p50), _ms(p99))


def _ms(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds * 1000, 2)


def _quantile(counts: Iterable[_Count], share: float) -> float | None:
    classes = [sum(column) for column in zip(*(count.classes for count in counts), strict=True)]
    wanted = share * sum(classes)
    below = 0
    for place, count in enumerate(classes):
        if count and below + count >= wanted:
            low = BOUNDS_S[place - 1] if place else BOUNDS_S[0] / _RATIO
            return float(low * _RATIO ** ((wanted - below) / count))
        below += count
    return None
