"""The shapes of what the server tells of itself: its page's numbers, whether it lives and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from evertune.serving.http.schemas import RefusalOut, ReleaseOut, RollingOut, Shape


class MinuteOut(Shape):
    """One minute of traffic."""

    at: int
    """Unix time of its start."""
    requests: int
    p50_ms: float | None
    p99_ms: float | None


class PointOut(Shape):
    """F1 from feedback as it was at one time."""

    at: datetime
    generation: int
    f1: float
    labelled: int


class ProjectOverview(Shape):
    """A project on the page at ``/``: numbers only, no texts."""

    project: str
    release: ReleaseOut | None
    engine: str | None
    f1_at_release: float | None
    refused: RefusalOut | None
    requests_per_minute: float
    p50_ms: float | None
    p99_ms: float | None
    minutes: list[MinuteOut]
    quality: list[RollingOut]
    f1_history: list[PointOut]


class Overview(Shape):
    """What the page shows."""

    at: datetime
    projects: list[ProjectOverview]


class Health(Shape):
    """Whether the server lives."""

    status: Literal["ok"]


class Readiness(Shape):
    """Whether the server answers predictions."""

    status: Literal["ready"]
    projects: int
    """Projects that are answered."""
    loading: int
    """Projects whose release is still being loaded: what asks for one gets 503 until it answers."""
