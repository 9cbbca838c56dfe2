"""What GraphQL shows of answers: the same as REST, but for lists of scores, since it has no objects with free names."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import strawberry

from evertune.serving.http import lookup, views
from evertune.serving.http.graphql_projects import Lineage

if TYPE_CHECKING:
    from evertune.serving.log import StoredFeedback


@strawberry.enum(description="Liked or not.")
class Thumbs(Enum):
    """Liked or not."""

    UP = "up"
    DOWN = "down"


@strawberry.enum(description="Who gave a label, in the order in which theirs count.")
class Origin(Enum):
    """Who gave a label."""

    EXPERT = "expert"
    IMPORT = "import"
    CORRECTION = "correction"


@strawberry.type(description="A label and its calibrated probability.")
class Score:
    """A label and its calibrated probability."""

    label: str
    probability: float

    @classmethod
    def all(cls, scores: dict[str, float]) -> list[Self]:
        """Scores as a list, since GraphQL has no objects with free names."""
        return [cls(label=label, probability=value) for label, value in scores.items()]


@strawberry.type(description="How much one word spoke for the answer.")
class WordWeight:
    """How much one word spoke for the answer."""

    word: str
    start: int
    end: int
    weight: float


@strawberry.type(description="Which release answered.")
class ReleaseRef:
    """Which release answered."""

    project: str
    generation: int
    model_version: int


@strawberry.type(description="The answer to one text.")
class Prediction:
    """The answer to one text."""

    id: str | None
    label: str
    scores: list[Score]
    cut: bool
    attributions: list[WordWeight] | None

    @classmethod
    def of(cls, found: dict[str, Any]) -> Self:
        """From the answer as REST gives it."""
        words = found.get("attributions")
        return cls(
            id=found["id"],
            label=found["label"],
            scores=Score.all(found["scores"]),
            cut=found["cut"],
            attributions=None if words is None else [WordWeight(**word) for word in words],
        )


@strawberry.type(description="The answers, in the order of the texts.")
class Predictions:
    """The answers, in the order of the texts."""

    predictions: list[Prediction]
    release: ReleaseRef


@strawberry.type(description="A feedback as it was kept.")
class Feedback:
    """A feedback as it was kept."""

    id: str
    origin: Origin
    truth: str | None
    correction: str | None
    thumbs: Thumbs | None
    comment: str | None
    at: datetime

    @classmethod
    def of(cls, one: StoredFeedback) -> Self:
        """As it is shown."""
        found = views.feedback(one).model_dump()
        thumbs = Thumbs(found["thumbs"]) if found["thumbs"] else None
        return cls(**{**found, "thumbs": thumbs, "origin": Origin(found["origin"])})


@strawberry.type(description="An answer out of the traffic log.")
class StoredPrediction:
    """An answer out of the traffic log."""

    id: str
    text: str
    label: str
    scores: list[Score]
    cut: bool
    release: ReleaseRef
    received: datetime
    answered: datetime
    said: list[Feedback] = strawberry.field(
        description="The newest that was said of it, oldest first; how many at most, the document /openapi.json says."
    )
    said_total: int = strawberry.field(description="How often something was said of it.")
    lineage: Lineage | None

    @classmethod
    def of(cls, found: lookup.Found) -> Self:
        """As it is shown."""
        shown = views.stored(found)
        return cls(
            id=shown.id,
            text=shown.text,
            label=shown.label,
            scores=Score.all(shown.scores),
            cut=shown.cut,
            release=ReleaseRef(**shown.release.model_dump()),
            received=shown.received,
            answered=shown.answered,
            said=[Feedback.of(one) for one in found.said.newest],
            said_total=found.said.total,
            lineage=Lineage.of(found.lineage),
        )
