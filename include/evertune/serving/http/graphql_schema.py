"""The GraphQL schema: the same reach as REST, by the same functions.

What may be refused is nullable: of several mutations in one operation those that were done are answered all the same.
"""

from __future__ import annotations

import strawberry

from evertune.serving.http import answering, feedback, lookup, review, review_schemas, schemas, views
from evertune.serving.http.graphql_projects import Info, Project
from evertune.serving.http.graphql_review import Kept, Labelling, Review
from evertune.serving.http.graphql_types import (
    Feedback,
    Origin,
    Prediction,
    Predictions,
    ReleaseRef,
    StoredPrediction,
    Thumbs,
)


@strawberry.input(description="What somebody says of an answer: at least one of these.")
class Saying:
    """What somebody says of an answer."""

    truth: str | None = None
    correction: str | None = None
    thumbs: Thumbs | None = None
    comment: str | None = None


async def _projects(info: Info) -> list[Project]:
    call = info.context
    return [Project.of(call, slug) for slug in call.service.projects(call.known)]


async def _project(info: Info, slug: str) -> Project | None:
    call = info.context
    call.service.admit(call.known, slug)
    return Project.of(call, slug)


async def _prediction(info: Info, id: strawberry.ID) -> StoredPrediction | None:  # noqa: A002 - the argument's name
    call = info.context
    return StoredPrediction.of(await lookup.find(call.service, call.known, str(id)))


async def _predict(
    info: Info, project: str, texts: list[str], explain: bool = False, groups: list[str | None] | None = None
) -> Predictions | None:
    call = info.context
    found = views.predictions(
        await answering.predict(
            call.service, call.known, project, texts, explain=explain, arrived=call.arrived, groups=groups
        )
    )
    return Predictions(
        predictions=[Prediction.of(one) for one in found["predictions"]], release=ReleaseRef(**found["release"])
    )


async def _feedback(info: Info, id: strawberry.ID, saying: Saying) -> Feedback | None:  # noqa: A002 - the argument's name
    call = info.context
    body = schemas.FeedbackBody(
        truth=saying.truth,
        correction=saying.correction,
        thumbs=saying.thumbs.value if saying.thumbs else None,
        comment=saying.comment,
    )
    return Feedback.of(await feedback.give(call.service, call.known, str(id), body))


async def _review(info: Info, project: str, limit: int = 20) -> Review | None:
    call = info.context
    return Review.of(await review.queue(call.service, call.known, project, max(1, min(limit, 1000))))


async def _label(info: Info, project: str, labels: list[Labelling], origin: Origin = Origin.EXPERT) -> Kept | None:
    call = info.context
    given = [{**vars(one), "id": str(one.id)} for one in labels]
    body = review_schemas.ReviewBody.model_validate({"labels": given, "origin": origin.value})
    return Kept(kept=await review.give(call.service, call.known, project, body))


@strawberry.type
class Query:
    """What can be read."""

    projects: list[Project] = strawberry.field(resolver=_projects, description="The projects that the key may see.")
    project: Project | None = strawberry.field(resolver=_project, description="One project.")
    prediction: StoredPrediction | None = strawberry.field(
        resolver=_prediction,
        description="An answer that was given, what was said of it, and where it comes from.",
    )
    review: Review | None = strawberry.field(
        resolver=_review, description="The answers that are most worth labelling, drawn with known chances."
    )


@strawberry.type
class Mutation:
    """What can be done."""

    predict: Predictions | None = strawberry.mutation(
        resolver=_predict,
        description="Classify texts. Each answer is in the traffic log before it is sent.",
    )
    feedback: Feedback | None = strawberry.mutation(
        resolver=_feedback, description="Say what an answer should have been, or what you think of it."
    )
    label: Kept | None = strawberry.mutation(resolver=_label, description="Give labels; all are kept, or none.")
