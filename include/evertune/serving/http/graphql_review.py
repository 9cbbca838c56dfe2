"""The review queue as GraphQL shows it."""

from __future__ import annotations

from typing import Self

import strawberry

from evertune.serving.http.graphql_types import Score
from evertune.serving.http.review_schemas import ReviewOut


@strawberry.type(description="An answer that somebody should label.")
class ReviewRow:
    """An answer that somebody should label."""

    id: str
    text: str
    label: str
    scores: list[Score]
    why: str
    pick: str


@strawberry.type(description="How many answers have a label by it.")
class Kept:
    """How many answers have a label by it."""

    kept: int


@strawberry.type(description="The next answers to label, in an order that says nothing of them.")
class Review:
    """The next answers to label."""

    project: str
    generation: int
    labels: list[str]
    waiting: int
    rows: list[ReviewRow]

    @classmethod
    def of(cls, one: ReviewOut) -> Self:
        """As it is shown."""
        rows = [ReviewRow(**{**row.model_dump(), "scores": Score.all(row.scores)}) for row in one.rows]
        return cls(**{**one.model_dump(), "rows": rows})


@strawberry.input(description="A label for one answer, with the pick as the queue gave it.")
class Labelling:
    """A label for one answer."""

    id: strawberry.ID
    label: str
    pick: str | None = None
    annotator: str | None = None
