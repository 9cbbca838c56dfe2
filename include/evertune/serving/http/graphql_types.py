"""What GraphQL shows: the same as REST, with lists of scores, since GraphQL has no objects with free names."""

from __future__ import annotations

from datetime import datetime
from enum import Enum
from typing import TYPE_CHECKING, Any, Self

import strawberry
from strawberry.scalars import JSON

from evertune.serving.http import lookup, schemas, views
from evertune.serving.http.guard import Call

if TYPE_CHECKING:
    from evertune.records import Release as ReleaseRecord
    from evertune.serving.log import StoredFeedback

Info = strawberry.Info[Call, None]


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


@strawberry.type(description="Where a release comes from: evaluation, dataset version, sources.")
class Lineage:
    """Where a release comes from."""

    run_key: str | None
    evaluation: JSON | None
    dataset_version: str | None
    sources: JSON

    @classmethod
    def of(cls, one: schemas.Lineage | None) -> Self | None:
        """As it is shown."""
        if one is None:
            return None
        return cls(
            run_key=one.run_key,
            evaluation=JSON(one.evaluation) if one.evaluation is not None else None,
            dataset_version=one.dataset_version,
            sources=JSON(one.sources),
        )


async def _lineage(root: strawberry.Parent[Release], info: Info) -> Lineage | None:
    return Lineage.of(await lookup.origin(info.context.service, root.project, root.generation))


@strawberry.type(description="A generation of a project: which model version answers, and who let it.")
class Release:
    """A generation of a project."""

    project: str
    generation: int
    model_version: int
    digest: str
    run_key: str
    kind: str
    approved_by: str
    traffic_share: float
    created: datetime
    lineage: Lineage | None = strawberry.field(
        resolver=_lineage,
        description="Evaluation, dataset version and sources; null while the ledger cannot be reached.",
    )

    @classmethod
    def of(cls, one: ReleaseRecord) -> Self:
        """As it is shown."""
        return cls(**one.model_dump(include=set(schemas.ReleaseOut.model_fields)))


@strawberry.type(description="Scores of one release from feedback: the last 1,000 labelled answers of 7 days.")
class Rolling:
    """Scores of one release from feedback."""

    generation: int
    labelled: int
    accuracy: float
    precision: float
    recall: float
    f1: float


async def _releases(root: strawberry.Parent[Project], info: Info, limit: int = 20) -> list[Release]:
    call = info.context
    found = await lookup.releases(call.service, call.known, root.slug)
    return [Release.of(one) for one in found[: max(0, min(limit, 1000))]]


@strawberry.type(description="A project as this server serves it.")
class Project:
    """A project as this server serves it."""

    slug: str
    labels: list[str]
    max_tokens: int | None
    release: Release | None
    refused: str | None = strawberry.field(description="Why a newer release was not let answer.")
    card: str | None = strawberry.field(description="The model card, in Markdown.")
    metrics: JSON = strawberry.field(description="Scores when the release was judged.")
    data_version: str | None
    quality: list[Rolling]
    releases: list[Release] = strawberry.field(resolver=_releases, description="All releases, newest first.")

    @classmethod
    def of(cls, call: Call, slug: str) -> Self:
        """As it is shown; whether it may be is asked before."""
        found = views.detail(call.service, slug, call.known)
        served = call.service.live.get(slug)
        return cls(
            slug=slug,
            labels=found.labels,
            max_tokens=found.max_tokens,
            release=Release.of(served.release) if served else None,
            refused=found.refused.reason if found.refused else None,
            card=found.card,
            metrics=JSON(found.metrics),
            data_version=found.data_version,
            quality=[Rolling(**one.model_dump()) for one in found.quality],
        )


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
    said: list[Feedback]
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
            said=[Feedback.of(one) for one in found.feedback],
            lineage=Lineage.of(found.lineage),
        )
