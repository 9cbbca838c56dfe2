"""What GraphQL shows of projects and releases: the same as REST, each with what it comes from."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Self

import strawberry
from strawberry.scalars import JSON

from evertune.serving.http import lookup, schemas, views
from evertune.serving.http.guard import Call

if TYPE_CHECKING:
    from evertune.records import Release as ReleaseRecord

Info = strawberry.Info[Call, None]


@strawberry.type(description="Where a release comes from: evaluation, dataset version, sources.")
class Lineage:
    """Where a release comes from."""

    run_key: str | None
    evaluation: JSON | None
    dataset_version: str | None
    sources: JSON
    labels: list[str] | None

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
            labels=one.labels,
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


@strawberry.type(description="A newer release that this server would not let answer.")
class Refusal:
    """A newer release that this server would not let answer."""

    generation: int
    reason: str
    at: datetime


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
    refused: Refusal | None = strawberry.field(description="A newer release that was not let answer, and why.")
    card: str | None = strawberry.field(description="The model card, in Markdown.")
    metrics: JSON = strawberry.field(description="Scores when the release was judged.")
    data_version: str | None
    engine: JSON | None = strawberry.field(description="What runs the model here, and why that.")
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
            refused=Refusal(**found.refused.model_dump()) if found.refused else None,
            card=found.card,
            metrics=JSON(found.metrics),
            data_version=found.data_version,
            engine=JSON(found.engine) if found.engine is not None else None,
            quality=[Rolling(**one.model_dump()) for one in found.quality],
        )
