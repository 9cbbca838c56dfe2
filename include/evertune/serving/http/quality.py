"""How good the answers are, as far as people said: rolling scores by project and release, from feedback.

Of each prediction one label counts: an expert's before an imported one, that before a correction, of one origin the
last. Thumbs are no labels, and a correction is one only where it names a class. What was picked because the model was
unsure says nothing of how good the other answers are, whoever labels it in the end.

The windows live in memory and are built again from the traffic log when the server starts.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import NamedTuple

MOST = 1_000
"""Labelled predictions in a window."""
SPAN = timedelta(days=7)
"""Older labels do not count."""
_STEP = timedelta(seconds=10)
_POINTS = 2_000


class Label(NamedTuple):
    """What one answer should have been."""

    prediction_id: str
    generation: int
    truth: str
    predicted: str
    at: datetime
    rank: int = 0
    """Whose label it is: a lower one goes before a higher one."""
    picked: bool = False
    """Whether the answer was picked for labelling: then it never counts."""


class Rolling(NamedTuple):
    """Scores over one window, shares of 1; macro averages over the classes that occur in it."""

    labelled: int
    accuracy: float
    precision: float
    recall: float
    f1: float


class Point(NamedTuple):
    """A window's F1 as it was at one time."""

    at: datetime
    generation: int
    f1: float
    labelled: int


def scores(pairs: Counter[tuple[str, str]]) -> Rolling | None:
    """Scores of counted (truth, predicted) pairs; ``None`` without any. An undefined precision or recall is 0."""
    total = sum(pairs.values())
    if not total:
        return None
    support: Counter[str] = Counter()
    answered: Counter[str] = Counter()
    for (truth, predicted), count in pairs.items():
        support[truth] += count
        answered[predicted] += count
    precision = recall = f1 = 0.0
    classes = support.keys() | answered.keys()
    for name in classes:
        right = pairs[name, name]
        precision += right / answered[name] if answered[name] else 0.0
        recall += right / support[name] if support[name] else 0.0
        f1 += 2 * right / (answered[name] + support[name])
    accuracy = sum(count for (truth, predicted), count in pairs.items() if truth == predicted) / total
    return Rolling(total, accuracy, precision / len(classes), recall / len(classes), f1 / len(classes))


class Tally:
    """Counted (truth, predicted) pairs, whose macro F1 is always known.

    A label changes that of two classes. Were all looked at for each, twenty thousand labels of 77 classes that are read
    at the start would stop the loop for ten seconds.
    """

    def __init__(self) -> None:
        self.pairs: Counter[tuple[str, str]] = Counter()
        self._seen: Counter[str] = Counter()
        """How often a class was the truth and how often the answer, together."""
        self._f1 = 0.0

    def count(self, truth: str, predicted: str, times: int) -> None:
        """Count the pair so many times more, or less."""
        classes = {truth, predicted}
        self._f1 -= sum(map(self._f1_of, classes))
        self.pairs[truth, predicted] += times
        if not self.pairs[truth, predicted]:
            del self.pairs[truth, predicted]
        for name in (truth, predicted):
            self._seen[name] += times
            if not self._seen[name]:
                del self._seen[name]
        self._f1 += sum(map(self._f1_of, classes))

    def _f1_of(self, name: str) -> float:
        return 2 * self.pairs[name, name] / self._seen[name] if self._seen[name] else 0.0

    @property
    def f1(self) -> float:
        """Macro F1 over the classes that occur; what adding and taking away leaves of rounding is rounded off."""
        return round(self._f1 / len(self._seen), 9) if self._seen else 0.0


class Window:
    """The labels of one release that count now, oldest first."""

    def __init__(self) -> None:
        self._labels: dict[str, Label] = {}
        self._picked: dict[str, Label] = {}
        self._tally = Tally()

    def __iter__(self) -> Iterator[Label]:
        yield from self._labels.values()
        yield from self._picked.values()

    def add(self, label: Label) -> None:
        """Count the label, instead of one that the same prediction had and that does not go before it.

        What other processes kept comes late: a label counts the same whenever it comes, and however often.
        """
        if label.picked:
            self._drop(label.prediction_id)
            self._picked[label.prediction_id] = label
            if len(self._picked) > MOST:
                del self._picked[next(iter(self._picked))]
            return
        before = self._labels.get(label.prediction_id)
        if label.prediction_id in self._picked or (before is not None and _goes_before(before, label)):
            return
        self._drop(label.prediction_id)
        self._labels[label.prediction_id] = label
        self._tally.count(label.truth, label.predicted, 1)
        if len(self._labels) > MOST:
            self._drop(next(iter(self._labels)))

    def now(self, at: datetime) -> Rolling | None:
        """The scores of the labels that are young enough."""
        self._forget(at)
        return scores(self._tally.pairs)

    def any(self, at: datetime) -> bool:
        """Whether a label counts, or a picked one keeps others from counting."""
        self._forget(at)
        return bool(self._labels or self._picked)

    def point(self, at: datetime, generation: int) -> Point | None:
        """Their F1 alone, which costs little; ``None`` without any."""
        self._forget(at)
        return Point(at, generation, self._tally.f1, len(self._labels)) if self._labels else None

    def _forget(self, at: datetime) -> None:
        while self._labels and (oldest := next(iter(self._labels.values()))).at < at - SPAN:
            self._drop(oldest.prediction_id)
        while self._picked and (oldest := next(iter(self._picked.values()))).at < at - SPAN:
            del self._picked[oldest.prediction_id]

    def _drop(self, prediction_id: str) -> None:
        if (gone := self._labels.pop(prediction_id, None)) is not None:
            self._tally.count(gone.truth, gone.predicted, -1)


def _goes_before(before: Label, label: Label) -> bool:
    return before == label or before.rank < label.rank or (before.rank == label.rank and before.at > label.at)


class _Project:
    def __init__(self) -> None:
        self.windows: dict[int, Window] = {}
        self.points: list[Point] = []

    def add(self, label: Label) -> None:
        if (window := self.windows.get(label.generation)) is None:
            self.forget(label.at)  # nobody may ever ask, and releases come for years
            window = self.windows[label.generation] = Window()
        window.add(label)
        if (point := window.point(label.at, label.generation)) is not None:
            self._point(point)

    def forget(self, at: datetime) -> None:
        """Drop the windows in which no label counts any more."""
        self.windows = {generation: window for generation, window in self.windows.items() if window.any(at)}

    def _point(self, point: Point) -> None:
        last = self.points[-1] if self.points else None
        if last is not None and point.at < last.at:  # it came late, and changes what is so now
            point = point._replace(at=last.at)
        if last is not None and last.generation == point.generation and point.at - last.at < _STEP:
            self.points[-1] = point._replace(at=last.at)
            return
        self.points.append(point)
        if len(self.points) > _POINTS:  # the older half at half the resolution
            half = _POINTS // 2
            self.points = self.points[:half:2] + self.points[half:]


class Quality:
    """Windows of all projects. Written and read by the loop's thread alone."""

    def __init__(self) -> None:
        self._projects: dict[str, _Project] = {}

    def add(self, project: str, label: Label) -> None:
        """Count one label."""
        self._projects.setdefault(project, _Project()).add(label)

    def rebuild(self, project: str, labels: Iterable[Label]) -> None:
        """Start from the log's labels, with those that came in meanwhile in their place by time."""
        before = self._projects.get(project, _Project())
        known = [label for window in before.windows.values() for label in window]
        fresh = _Project()
        for label in sorted({*labels, *known}, key=lambda label: label.at):
            fresh.add(label)
        self._projects[project] = fresh

    def now(self, project: str, at: datetime) -> dict[int, Rolling]:
        """Generation → its scores, for those that have labels."""
        if (found := self._projects.get(project)) is None:
            return {}
        rolling = {generation: window.now(at) for generation, window in sorted(found.windows.items())}
        found.forget(at)
        return {generation: one for generation, one in rolling.items() if one}

    def history(self, project: str, at: datetime, most: int = 200) -> list[Point]:
        """F1 over time, oldest first, thinned to ``most`` points; the last one is kept."""
        found = self._projects.get(project)
        points = [point for point in found.points if point.at >= at - SPAN] if found else []
        step = max(1, -(-len(points) // most))
        return points[::-1][::step][::-1]
