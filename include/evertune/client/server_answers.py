"""What the server answers of itself: its page's numbers, whether it lives and answers."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from evertune.client.answers import Answer, RefusedRelease, Release, Rolling


class Minute(Answer):
    """One minute of traffic."""

    at: int
    requests: int
    p50_ms: float | None
    p99_ms: float | None


class Point(Answer):
    """F1 from feedback as it was at one time."""

    at: datetime
    generation: int
    f1: float
    labelled: int


class ProjectOverview(Answer):
    """A project's numbers."""

    project: str
    release: Release | None
    engine: str | None
    f1_at_release: float | None
    refused: RefusedRelease | None
    requests_per_minute: float
    p50_ms: float | None
    p99_ms: float | None
    minutes: tuple[Minute, ...]
    quality: tuple[Rolling, ...]
    f1_history: tuple[Point, ...]


class Overview(Answer):
    """What the server's page shows."""

    at: datetime
    projects: tuple[ProjectOverview, ...]


class Health(Answer):
    """The server lives."""

    status: Literal["ok"]


class Readiness(Answer):
    """The server answers predictions."""

    status: Literal["ready"]
    projects: int
    loading: int | None = None
    """Projects whose release is still being loaded; ``None`` where an older server does not say."""
