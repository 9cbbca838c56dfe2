"""The REST routes. Each is one call; what it takes and gives stands in :mod:`.schemas`."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from evertune.serving.http import (
    answering,
    assets,
    feedback,
    lookup,
    metrics,
    page,
    review,
    review_schemas,
    schemas,
    server_schemas,
    views,
)
from evertune.serving.http.guard import CALL, Call
from evertune.serving.http.lean import Lean
from evertune.serving.http.problems import MEDIA_TYPE, RefusedError, dumps, no_release

_JSON = "application/json"


def _problems(*codes: int) -> dict[int | str, dict[str, Any]]:
    schema = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {code: {"description": _WHY[code], "content": {MEDIA_TYPE: schema}} for code in sorted((*codes, 500))}


_WHY = {
    400: "The body is not JSON",
    401: "No valid key",
    403: "The key lacks a scope",
    404: "Not there, or not for this key",
    408: "The body did not arrive in time",
    413: "The body is too large",
    415: "The body is not declared as JSON",
    422: "The request was not understood",
    429: "The key asks too often",
    500: "A fault of the server",
    503: "The server has too much to do, still loads the release, cannot log, or is going down",
}
READ = _problems(401, 404, 422, 429, 503)
BODY = _problems(400, 401, 403, 404, 408, 413, 415, 422, 429, 503)
REVIEW = _problems(401, 403, 404, 422, 429, 503)
SURFACE = _problems(401, 403, 429, 503)

router = APIRouter()
lean = APIRouter(route_class=Lean)


def _call(request: Request) -> Call:
    call: Call = request.scope[CALL]
    return call


def _json(value: object, status: int = 200) -> Response:
    return Response(dumps(value), status, media_type=_JSON, headers={"cache-control": "no-store"})


@lean.post(
    "/v1/projects/{project}/predict",
    operation_id="predict",
    tags=["answers"],
    response_model=schemas.Predictions,
    responses=BODY,
)
async def predict(request: Request, project: str, body: schemas.PredictBody) -> Response:
    """Classify one text or several. Each answer is in the traffic log before it is sent."""
    call = _call(request)
    texts = [body.texts] if isinstance(body.texts, str) else body.texts
    found = await answering.predict(
        call.service, call.known, project, texts, explain=body.explain, arrived=call.arrived, groups=body.groups
    )
    return _json(views.predictions(found))


@lean.post(
    "/v1/predictions/{prediction_id}/feedback",
    operation_id="feedback",
    tags=["answers"],
    response_model=schemas.FeedbackOut,
    status_code=201,
    responses=BODY,
)
async def give_feedback(request: Request, prediction_id: str, body: schemas.FeedbackBody) -> Response:
    """Say what an answer should have been, or what you think of it."""
    call = _call(request)
    kept = await feedback.give(call.service, call.known, prediction_id, body)
    return _json(views.feedback(kept).model_dump(), 201)


@lean.post(
    "/v1/projects/{project}/review",
    operation_id="label",
    tags=["labels"],
    response_model=review_schemas.ReviewKept,
    status_code=201,
    responses=BODY,
)
async def label(request: Request, project: str, body: review_schemas.ReviewBody) -> Response:
    """Give labels: by a person for answers out of the queue, or imported from a tool. All are kept, or none."""
    call = _call(request)
    return _json({"kept": await review.give(call.service, call.known, project, body)}, 201)


@router.get("/v1/projects/{project}/review", operation_id="review", tags=["labels"], responses=REVIEW)
async def show_queue(
    request: Request, project: str, limit: Annotated[int, Query(ge=1, le=1000)] = 20
) -> review_schemas.ReviewOut:  # fmt: skip
    """The answers that are most worth labelling: unsure, new, each only once, drawn with known chances."""
    call = _call(request)
    return await review.queue(call.service, call.known, project, limit)


@router.get("/v1/predictions/{prediction_id}", operation_id="prediction", tags=["answers"], responses=READ)
async def prediction(request: Request, prediction_id: str) -> schemas.StoredPrediction:
    """An answer that was given, what was said of it, and where it comes from."""
    call = _call(request)
    return views.stored(await lookup.find(call.service, call.known, prediction_id))


@router.get("/v1/projects", operation_id="projects", tags=["projects"], responses=READ)
async def projects(request: Request) -> schemas.Projects:
    """The projects that the key may see."""
    call = _call(request)
    slugs = call.service.projects(call.known)
    return schemas.Projects(projects=[views.project(call.service, slug, call.known) for slug in slugs])


@router.get("/v1/projects/{project}", operation_id="project", tags=["projects"], responses=READ)
async def project(request: Request, project: str) -> schemas.ProjectDetail:
    """A project: its release, model card, scores and data version."""
    call = _call(request)
    call.service.admit(call.known, project)
    return views.detail(call.service, project, call.known)


@router.get("/v1/projects/{project}/releases", operation_id="releases", tags=["projects"], responses=READ)
async def releases(
    request: Request, project: str, limit: Annotated[int, Query(ge=1, le=1000)] = 100
) -> schemas.Releases:  # fmt: skip
    """A project's releases, newest first."""
    call = _call(request)
    found = await lookup.releases(call.service, call.known, project)
    return schemas.Releases(releases=[views.release(one) for one in found[:limit]])


@router.get("/v1/overview", operation_id="overview", tags=["server"], responses=SURFACE)
async def overview(request: Request) -> server_schemas.Overview:
    """The numbers of the page at ``/``: releases, traffic, latency and rolling scores, no texts."""
    call = _call(request)
    slugs = call.service.live.known()
    if call.caller is not None:
        slugs = [slug for slug in slugs if call.caller.allows(slug, "admin")]
    return views.overview(call.service, slugs)


@router.get("/healthz", operation_id="healthz", tags=["server"], responses=_problems())
async def healthz() -> server_schemas.Health:
    """Whether the server lives."""
    return server_schemas.Health(status="ok")


@router.get("/readyz", operation_id="readyz", tags=["server"], responses=_problems(503))
async def readyz(request: Request) -> server_schemas.Readiness:
    """Whether the server answers predictions: 503 while no release does and while it goes down.

    A project of which a release is still being loaded is answered with 503 by itself, and holds up no other.
    """
    service = _call(request).service
    if service.closing:
        raise RefusedError(503, "closing", "This server is going down.", retry_after_s=1)
    if not (projects := service.live.projects()):
        loading = service.live.loading()
        raise no_release("The releases are still being loaded here." if loading else "No release answers here yet.")
    return server_schemas.Readiness(status="ready", projects=len(projects), loading=len(service.live.loading()))


@router.get(
    "/metrics",
    operation_id="metrics",
    tags=["server"],
    response_class=Response,
    responses={**SURFACE, 200: {"content": {"text/plain": {"schema": {"type": "string"}}}}},
)
async def show_metrics(request: Request) -> Response:
    """Counters and states for Prometheus."""
    text = _call(request).service.meters.exposition()
    return Response(text, headers={"content-type": metrics.CONTENT_TYPE})


@router.get("/docs", include_in_schema=False)
async def show_documents() -> Response:
    """The interactive documents."""
    return page.documents("evertune")


async def show_asset(request: Request) -> Response:
    """A part of the interactive documents' programs."""
    return await assets.response(request.scope["route"].path)


for path in assets.ASSETS:
    router.add_api_route(path, show_asset, include_in_schema=False)


@router.get("/", include_in_schema=False)
async def show_page() -> Response:
    """The page for people."""
    return page.response()


@router.get("/review", include_in_schema=False)
async def show_review() -> Response:
    """The page on which people label. It holds nothing: what it shows it asks for with the key that it is given."""
    return page.response(page.REVIEW)
