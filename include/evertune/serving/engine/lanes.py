"""Which rows are computed next: lanes take turns, and a batch holds rows of near-equal lengths within a budget."""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

from evertune.serving.engine.work import Request, Row

Key = tuple[str, bool]

LONGER, SHORTER, SLACK = 1.1, 0.85, 2
"""Rows from 0.85 to 1.1 times as long as the oldest one (and 2 tokens more or less) share its batch. A call costs as
much as some six tokens, padding soon costs more: seen, wider choices were 10 to 20% slower."""


@dataclass
class Lane:
    """One project's requests: those that are not tokenised yet, and rows that wait."""

    requests: deque[Request] = field(default_factory=deque)
    rows: list[Row] = field(default_factory=list)

    @property
    def empty(self) -> bool:
        """Whether nothing waits in it."""
        return not self.requests and not self.rows

    def late(self, now: float) -> dict[Request, BaseException]:
        """Requests with rows here that nobody waits for any more, and why."""
        return {request: why for request in requests_of(self.rows) if (why := request.dropped(now)) is not None}

    def drop(self, requests: Collection[Request]) -> None:
        """Forget the rows of these requests."""
        if requests:
            self.rows[:] = [row for row in self.rows if row.request not in requests]


class Lanes:
    """All lanes, in the order of their turns. Not safe to share: its owner locks."""

    def __init__(self) -> None:
        self._lanes: OrderedDict[Key, Lane] = OrderedDict()

    def __bool__(self) -> bool:
        return bool(self._lanes)

    @property
    def idle(self) -> bool:
        """Whether nothing waits in any of them."""
        return all(lane.empty for lane in self._lanes.values())

    def add(self, request: Request) -> None:
        """Put the request at the end of its lane."""
        self._lanes.setdefault(request.lane, Lane()).requests.append(request)

    def next(self) -> Lane:
        """The lane whose turn it is; it then goes to the back."""
        key = next(iter(self._lanes))
        self._lanes.move_to_end(key)
        return self._lanes[key]

    def sweep(self) -> None:
        """Forget lanes in which nothing waits."""
        for key in [key for key, lane in self._lanes.items() if lane.empty]:
            del self._lanes[key]


def requests_of(rows: Sequence[Row]) -> dict[Request, None]:
    """The rows' requests, each once, in order."""
    return dict.fromkeys(row.request for row in rows)


def take(rows: list[Row], tokens_per_batch: int) -> list[Row]:
    """Take one batch out of the rows, which wait in their order of arrival.

    The oldest is always in it, so none waits for ever; with it go rows of the same release. Where the model pads rows,
    those of near-equal lengths, the nearest first: padding is what a batch costs more than its rows, and a wider choice
    computes more tokens that are not there than it saves in calls. Else the next that fit.
    """
    served = rows[0].request.served
    lengths = [len(row.ids) if row.request.served is served else 0 for row in rows]
    chosen = (choose if served.model.padded else fill)(lengths, tokens_per_batch)
    picked = set(chosen)
    batch = [rows[place] for place in chosen]
    rows[:] = [row for place, row in enumerate(rows) if place not in picked]
    return batch


def choose(lengths: Sequence[int], tokens_per_batch: int) -> list[int]:
    """Places of the rows of the first one's batch. Length 0 stands for a row that may not share it."""
    first = lengths[0]
    low, high = first * SHORTER - SLACK, first * LONGER + SLACK
    near = sorted((abs(n - first), place) for place, n in enumerate(lengths) if place and n and low <= n <= high)
    chosen, longest = [0], first
    for _, place in near:
        longer = max(longest, lengths[place])
        if longer * (len(chosen) + 1) > tokens_per_batch:
            continue
        chosen.append(place)
        longest = longer
    return chosen


def fill(lengths: Sequence[int], tokens_per_batch: int) -> list[int]:
    """The same where rows of any lengths go together at no cost, in their order.

    Weights are read from memory once a batch, so up to twice the tokens go into it where as many are left to others.
    """
    budget = max(tokens_per_batch, min(2 * tokens_per_batch, sum(lengths) // 2))
    chosen, total = [0], lengths[0]
    for place, n in enumerate(lengths):
        if place and n and total + n <= budget:
            chosen.append(place)
            total += n
    return chosen
