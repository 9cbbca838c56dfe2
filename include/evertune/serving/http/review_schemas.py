"""The shapes of the review queue: answers to label, and the labels that are given."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import ConfigDict, Field

from evertune.serving.http.schemas import Shape


class ReviewRow(Shape):
    """An answer that somebody should label."""

    id: str
    """Of the prediction."""
    text: str
    """The text as the model saw it: redacted and normalised."""
    label: str
    """What the model answered."""
    scores: dict[str, float]
    """Label → probability."""
    why: str
    """Why it was drawn, in words."""
    pick: str
    """Proof of the chance with which it was drawn. Send it back with the label."""


class ReviewOut(Shape):
    """The next answers to label, in an order that says nothing of them."""

    project: str
    generation: int
    """The release that gave the answers."""
    labels: list[str]
    """What there is to choose from."""
    waiting: int
    """Answers that are drawn now, those in ``rows`` with them."""
    rows: list[ReviewRow]


class ReviewLabel(Shape):
    """A label for one answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    id: str
    """Of the prediction."""
    label: str
    """One of the project's labels."""
    pick: str | None = None
    """As the queue gave it. Without it an imported label counts as one of an answer that nobody picked."""
    annotator: str | None = None
    """Who labelled it. Only a hash of it is kept."""


class ReviewBody(Shape):
    """Labels by people or tools. All of them are kept, or none where one of them cannot be."""

    model_config = ConfigDict(extra="forbid", strict=True)

    labels: Annotated[list[ReviewLabel], Field(min_length=1, max_length=1000)]
    origin: Literal["expert", "import"] = "expert"
    """``expert``: a person labelled answers out of the queue. ``import``: they come from elsewhere."""


class ReviewKept(Shape):
    """How many answers have a label by it."""

    kept: int
