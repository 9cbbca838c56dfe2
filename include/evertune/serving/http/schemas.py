"""The bodies of requests and answers: what the OpenAPI document is made from and requests are checked against."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from evertune.records import JsonObject


class Shape(BaseModel):
    """Base of all: a field's docstring is its description in the OpenAPI document."""

    model_config = ConfigDict(use_attribute_docstrings=True)


class PredictBody(Shape):
    """One text or several to classify."""

    model_config = ConfigDict(
        extra="forbid", strict=True, json_schema_extra={"examples": [{"texts": "The menu is simple.", "explain": True}]}
    )

    texts: str | Annotated[list[str], Field(fail_fast=True)]
    """What to classify: one text, or a list of them. A text must not be empty."""
    groups: str | Annotated[list[str | None], Field(fail_fast=True)] | None = None
    """What each text is a part of (a document, a conversation, a customer): one name for all, or one or ``null`` for
    each. Only a hash of it is kept. Texts of one group are never both learned from and judged on."""
    explain: bool = False
    """Whether each word's weight in the answer is wanted. It costs one run of the model a word."""


class ReleaseRef(Shape):
    """Which release answered."""

    project: str
    generation: int
    model_version: int


class WordWeight(Shape):
    """How much one word spoke for the answer."""

    word: str
    """A word; of a writing that has no spaces between words, a token."""
    start: int
    """First character of the word in the text as the model saw it: redacted and normalised."""
    end: int
    weight: float
    """Log-odds of the label that are lost without the word; below 0 it spoke against."""


class Prediction(Shape):
    """The answer to one text."""

    id: str | None
    """Under this id the answer is in the traffic log; ``null`` where the project lets answers go unlogged."""
    label: str
    scores: dict[str, float]
    """Label → calibrated probability."""
    cut: bool
    """Whether the text was longer than the model takes, so that its end was not seen."""
    attributions: list[WordWeight] | None = None


class Predictions(Shape):
    """The answers, in the order of the texts."""

    predictions: list[Prediction]
    release: ReleaseRef


class ReleaseOut(Shape):
    """A generation of a project: which model version answers, and who let it."""

    project: str
    generation: int
    model_version: int
    digest: str
    """SHA-256 over the manifest of the model's files."""
    run_key: str
    kind: str
    """``promote`` or ``rollback``."""
    approved_by: str
    traffic_share: float
    created: datetime


class RefusalOut(Shape):
    """A newer release that this server would not let answer."""

    generation: int
    reason: str
    at: datetime


class RollingOut(Shape):
    """Scores of one release from feedback: the last 1,000 labelled answers of the last 7 days."""

    generation: int
    labelled: int
    accuracy: float
    precision: float
    recall: float
    f1: float


class ProjectOut(Shape):
    """A project as this server serves it."""

    project: str
    release: ReleaseOut | None
    """The release that answers; ``null`` while it is still being loaded, and where none was fit to."""
    labels: list[str]
    max_tokens: int | None
    refused: RefusalOut | None = None


class ProjectDetail(ProjectOut):
    """A project with its model card, its scores at release, and its scores since."""

    card: str | None
    """The model card, in Markdown."""
    metrics: JsonObject
    """Scores on the test rows when the release was judged."""
    data_version: str | None
    engine: JsonObject | None
    """What runs the model here, and why that."""
    quality: list[RollingOut]


class Projects(Shape):
    """The projects that the key may see."""

    projects: list[ProjectOut]


class Releases(Shape):
    """A project's releases, newest first."""

    releases: list[ReleaseOut]


class FeedbackBody(Shape):
    """What somebody says of an answer. It may be given more than once: all is kept, the last label counts."""

    model_config = ConfigDict(extra="forbid", strict=True)

    truth: str | None = None
    """The right label: one of the release that answered, or of the one that answers now."""
    correction: str | None = None
    """The right answer in words; it counts as a label where it is one."""
    thumbs: Literal["up", "down"] | None = None
    """Liked or not. No label: it never enters the scores."""
    comment: str | None = None
    """Anything else. Personal data is redacted before it is kept, here and in the correction."""

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if (self.truth, self.correction, self.thumbs, self.comment) == (None, None, None, None):
            raise ValueError("Say at least one of truth, correction, thumbs and comment.")
        return self


class FeedbackOut(Shape):
    """A feedback as it was kept."""

    id: str
    origin: Literal["expert", "import", "correction"]
    """Who gave it: a person who was asked, a tool, or who got the answer. In this order their labels count."""
    truth: str | None
    correction: str | None
    thumbs: Literal["up", "down"] | None
    comment: str | None
    at: datetime


class Lineage(Shape):
    """Where an answer comes from: release → evaluation → dataset version → source."""

    run_key: str | None = None
    """The run that trained and judged the model."""
    evaluation: JsonObject | None = None
    """What was measured before the release."""
    dataset_version: str | None = None
    sources: dict[str, str] = Field(default_factory=dict)
    """Source → hash of what was drawn from it."""
    labels: list[str] | None = None


class StoredPrediction(Shape):
    """An answer out of the traffic log."""

    id: str
    text: str
    """The text as the model saw it: redacted and normalised."""
    label: str
    scores: dict[str, float]
    """Label → probability; only the answer's own where the labels of its release cannot be looked up."""
    cut: bool
    release: ReleaseRef
    received: datetime
    answered: datetime
    feedback: list[FeedbackOut]
    """The newest that was said of it, oldest first; how many at most, the document /openapi.json says."""
    feedback_total: int
    """How often something was said of it."""
    lineage: Lineage | None
    """``null`` while the ledger cannot be reached."""


class GraphQLBody(Shape):
    """A GraphQL operation. Batches of several are refused."""

    model_config = ConfigDict(strict=True)

    query: str
    variables: JsonObject | None = None
    operation_name: str | None = Field(default=None, alias="operationName")


class GraphQLError(Shape):
    """What went wrong with a part of an operation."""

    message: str
    path: list[str | int] | None = None
    extensions: JsonObject | None = None
    """``type`` and ``status`` as a problem document has them, and ``retryAfter`` where it is worth trying again."""


class GraphQLAnswer(Shape):
    """What a GraphQL operation returned."""

    data: JsonObject | None
    errors: list[GraphQLError] | None = None
