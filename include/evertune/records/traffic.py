"""The records of traffic after a release: windows, what was found in them, alerts."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from evertune.records.core import Record


class Signal(StrEnum):
    """What is watched. The names are those of the project file's `monitoring.signals`."""

    EMBEDDING = "embedding"
    OUTPUT = "output"
    LOW_CONFIDENCE = "low_confidence"
    LABEL_MIX = "label_mix"
    F1 = "f1"
    ERRORS = "errors"


class Part(Record):
    """Rows of one segment of the traffic log, counted among the project's answers in it, in the order of offsets."""

    segment: str
    """Hexadecimal, 16 digits."""
    first: int
    """Number of the first row, from 0."""
    end: int
    """Number of the first row after."""


class Window(Record):
    """A slice of a project's traffic, cut once and never changed. Number n follows n − 1 without a gap."""

    project: str
    number: int
    """1, 2, 3 …"""
    generation: int
    """The release whose answers are tested."""
    rows: int
    """Answers of that release."""
    stragglers: int = 0
    """Answers of another release in the same stretch: cut off with it, not tested."""
    parts: tuple[Part, ...]
    since: datetime
    """When the first of them was answered."""
    until: datetime
    """When the last of them was."""
    labels_until: datetime
    """Labels given before this and not before the window before's belong to it."""
    created: datetime


class Finding(Record):
    """What one signal says of one window."""

    signal: Signal
    rows: int
    """Rows that it rests on; 0 where it could not be tested, and then ``p`` and ``e`` are 1."""
    effect: float
    """In the measure that the project file names for the signal."""
    smallest: float
    """The smallest effect that matters."""
    p: float
    """Chance of such a difference without a drift."""
    e: float
    """Evidence against "no drift": its mean is at most 1 where there is none."""

    @property
    def matters(self) -> bool:
        """Whether the effect is as large as what matters."""
        return self.rows > 0 and self.effect >= self.smallest


class Evidence(Record):
    """Evidence gathered since the release: what the next window starts from. An alert at 1 (see ``budget``)."""

    total: float = 0.0
    by_signal: dict[Signal, float] = Field(default_factory=dict)
    quiet: dict[Signal, float] = Field(default_factory=dict)
    """Days for which each signal was tested and spoke for no alert, a day a window at most."""
    until: datetime | None = None
    """End of the last window that is in it."""


class Moved(Record):
    """A figure of the texts or answers that differs from the reference."""

    name: str
    reference: float
    traffic: float


class Cluster(Record):
    """Answers of a kind that the reference hardly has."""

    rows: int
    share: float
    """Of the traffic looked at."""
    reference_share: float
    words: tuple[str, ...]
    """Those that tell it from the reference most."""
    examples: tuple[str, ...]
    """Up to five texts, redacted as all are."""
    prediction_ids: tuple[str, ...]
    """Of the examples."""


class Explanation(Record):
    """What an alert is about, for people."""

    share: float
    """Of the traffic that is concerned."""
    descriptors: tuple[Moved, ...] = ()
    labels: tuple[Moved, ...] = ()
    clusters: tuple[Cluster, ...] = ()
    sentences: tuple[str, ...] = ()
    """The same in words."""


class AlertStatus(StrEnum):
    """What has become of an alert."""

    OPEN = "open"
    """The policy has not let it start a retrain yet; ``ruling`` says why."""
    TRIGGERED = "triggered"
    """A retrain was asked for."""
    ANSWERED = "answered"
    """A verdict answered it."""
    OUTDATED = "outdated"
    """The release that it accuses no longer answers."""
    FADED = "faded"
    """Nothing of it was seen for a week, or its signals were turned off, and no retrain was asked for."""


class Alert(Record):
    """Traffic has drifted from what a release knows. At most one is open a project and generation."""

    project: str
    key: str
    """Unique; also the key of the trigger that it becomes."""
    generation: int
    window: int
    """Number of the window that raised it."""
    signals: tuple[Signal, ...]
    """Those that raised it or joined it, without those that have faded since."""
    rows: int
    """Answers that it rests on."""
    explanation: Explanation | None = None
    status: AlertStatus
    ruling: str
    """What the policy last said, in words."""
    created: datetime
