"""What the server answers, as frozen values: also what an older server or a newer one answers.

A field that a newer server adds is left out on reading. One that older servers do not send has a default, which says
what was so with them.
"""

from __future__ import annotations

from datetime import datetime
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field


class Answer(BaseModel):
    """Base of all answers."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class ReleaseRef(Answer):
    """Which release answered."""

    project: str
    generation: int
    model_version: int


class WordWeight(Answer):
    """How much one word spoke for the answer."""

    word: str
    start: int
    """First character of the word in the text as the model saw it."""
    end: int
    weight: float
    """Log-odds of the label that are lost without the word."""


class Prediction(Answer):
    """The answer to one text."""

    id: str | None
    """``None`` where the project lets answers go unlogged, and this one could not be logged."""
    label: str
    scores: dict[str, float]
    """Label → calibrated probability."""
    cut: bool
    """The text was longer than the model takes; its end was not seen."""
    attributions: tuple[WordWeight, ...] | None = None


class Predictions(Answer):
    """The answers, in the order of the texts."""

    predictions: tuple[Prediction, ...]
    release: ReleaseRef

    @property
    def labels(self) -> list[str]:
        """The labels alone."""
        return [one.label for one in self.predictions]


class Release(Answer):
    """A generation of a project: which model version answers, and who let it."""

    project: str
    generation: int
    model_version: int
    digest: str
    run_key: str
    kind: str
    approved_by: str
    traffic_share: float
    created: datetime


class RefusedRelease(Answer):
    """A newer release that the server would not let answer."""

    generation: int
    reason: str
    at: datetime


class Rolling(Answer):
    """Scores of one release from feedback."""

    generation: int
    labelled: int
    accuracy: float
    precision: float
    recall: float
    f1: float


class Project(Answer):
    """A project as the server serves it."""

    project: str
    release: Release | None
    labels: tuple[str, ...]
    max_tokens: int | None
    refused: RefusedRelease | None = None


class ProjectDetail(Project):
    """A project with its model card and its scores."""

    card: str | None
    metrics: dict[str, Any]
    data_version: str | None
    engine: dict[str, Any] | None
    quality: tuple[Rolling, ...]


class Projects(Answer):
    """The projects that the key may see."""

    projects: tuple[Project, ...]


class Releases(Answer):
    """A project's releases, newest first."""

    releases: tuple[Release, ...]


class Feedback(Answer):
    """A feedback as it was kept: its words are redacted."""

    id: str
    origin: Literal["expert", "import", "correction"] = "correction"
    """Who gave it; in this order their labels count."""
    truth: str | None
    correction: str | None
    thumbs: Literal["up", "down"] | None
    comment: str | None
    at: datetime


class ReviewRow(Answer):
    """An answer that somebody should label."""

    id: str
    text: str
    label: str
    """What the model answered."""
    scores: dict[str, float]
    why: str
    pick: str
    """Proof of the chance with which it was drawn. Send it back with the label."""


class Review(Answer):
    """The next answers to label, in an order that says nothing of them."""

    project: str
    generation: int
    labels: tuple[str, ...]
    waiting: int
    rows: tuple[ReviewRow, ...]


class Kept(Answer):
    """How many answers have a label by it."""

    kept: int


class Lineage(Answer):
    """Where an answer comes from."""

    run_key: str | None = None
    evaluation: dict[str, Any] | None = None
    dataset_version: str | None = None
    sources: dict[str, str] = Field(default_factory=dict)
    labels: tuple[str, ...] | None = None


class StoredPrediction(Answer):
    """An answer out of the traffic log."""

    id: str
    text: str
    label: str
    scores: dict[str, float]
    cut: bool
    release: ReleaseRef
    received: datetime
    answered: datetime
    feedback: tuple[Feedback, ...]
    """The newest that was said of it, oldest first."""
    feedback_total: int = Field(default_factory=lambda read: len(read["feedback"]))
    """How often something was said of it. Older servers send all of it."""
    lineage: Lineage | None


class GraphQLError(Answer):
    """What went wrong with a part of a GraphQL operation."""

    message: str
    path: tuple[str | int, ...] | None = None
    extensions: dict[str, Any] | None = None


class GraphQLAnswer(Answer):
    """What a GraphQL operation returned."""

    data: dict[str, Any] | None
    errors: tuple[GraphQLError, ...] | None = None
