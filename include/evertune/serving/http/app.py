"""The application: routes behind the guard, and an OpenAPI document that tells what they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from pydantic.json_schema import models_json_schema
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match

from evertune import __version__
from evertune.records import JsonObject
from evertune.serving.http import feedback, graphql, rest
from evertune.serving.http.guard import SURFACES, Guard
from evertune.serving.http.lean import named_faults
from evertune.serving.http.limits import Limits
from evertune.serving.http.metrics import State
from evertune.serving.http.problems import Problem, RefusedError, invalid
from evertune.serving.http.service import Service

_REBUILD_S = 10.0
_ABOUT = "Answers of fine-tuned models, each with its id, its scores and the release that gave it."


def _about(limits: Limits) -> str:
    """What the document says of all operations: whoever meets a limit must be able to find it."""
    return f"""{_ABOUT}

- A request has at most {limits.texts} texts, or {limits.explained_texts} with `explain`, of up to
  {limits.text_characters:,} characters each, in {limits.body_bytes:,} bytes. The model reads `max_tokens` of each;
  `cut` says whether that was not all of it. A comment has up to {limits.comment_characters:,} characters.
- An answer is shown with the newest {limits.feedback} that was said of it; `feedback_total` says how many there are.
- What is not answered {limits.deadline_s:g} s after its first byte is refused.
- A key that names no rate of its own may ask {limits.rate_per_s:g} times a second.
- A GraphQL document has up to {limits.graphql_depth} levels, {limits.graphql_aliases} aliases and
  {limits.graphql_tokens:,} tokens.
- Where it is worth asking again, 429 and 503 say when in `Retry-After`.
"""


def app(service: Service) -> FastAPI:
    """The ASGI application. When it ends, what was accepted is finished and the log is closed."""
    service.meters.registry.register(State(service))
    service.batcher.observe = service.meters.batch

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        rebuilding = asyncio.create_task(_keep_quality(service))
        try:
            yield
        finally:
            rebuilding.cancel()
            await service.close()

    made = FastAPI(
        title="evertune",
        version=__version__,
        description=_about(service.limits),
        lifespan=lifespan,
        docs_url=None,  # ours has a content security policy
        redoc_url=None,
        redirect_slashes=False,
    )
    for router in (rest.lean, graphql.router, rest.router):
        made.include_router(router)
    made.add_middleware(Guard, service=service)
    made.add_exception_handler(HTTPException, _http_fault)
    made.add_exception_handler(RequestValidationError, _not_understood)
    made.openapi = lambda: _openapi(made)  # type: ignore[method-assign]
    return made


async def _keep_quality(service: Service) -> None:
    while True:
        await feedback.rebuild_quality(service)
        await asyncio.sleep(_REBUILD_S)
        await feedback.count_elsewhere(service)


async def _http_fault(request: Request, fault: Exception) -> Response:
    assert isinstance(fault, HTTPException)  # noqa: S101 - it is registered for that
    if fault.status_code == 404:
        return RefusedError(
            404, "unknown", "There is nothing at this path. GET /openapi.json lists what there is."
        ).response()
    allowed = _allowed(request)
    said = f"{request.method} is not for this path. Use {allowed}. GET /openapi.json lists what there is."
    return RefusedError(fault.status_code, "method", said, headers={"allow": allowed}).response()


def _allowed(request: Request) -> str:
    """The methods of all routes of this path; Starlette names those of the first one alone."""
    matching = [route for route in request.app.routes if route.matches(request.scope)[0] is not Match.NONE]
    methods = {method for route in matching for method in route.methods}
    return ", ".join(sorted(methods | {"HEAD"} if "GET" in methods else methods))


async def _not_understood(_: Request, fault: Exception) -> Response:
    assert isinstance(fault, RequestValidationError)  # noqa: S101 - it is registered for that
    return invalid(*named_faults(fault.errors(), "request")).response()


def _openapi(made: FastAPI) -> JsonObject:
    """FastAPI's document, with the key, and with problem documents as what every error is."""
    if made.openapi_schema is None:
        found = get_openapi(title=made.title, version=made.version, description=made.description, routes=made.routes)
        components: dict[str, Any] = found.setdefault("components", {})
        _, problem = models_json_schema(
            [(Problem, "serialization")], ref_template="#/components/schemas/{model}"
        )  # fmt: skip
        components.setdefault("schemas", {}).update(problem["$defs"])
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        found["security"] = [{"key": []}]
        for path, operations in found["paths"].items():
            if SURFACES.get(path) == "always":
                operations["get"]["security"] = []
        made.openapi_schema = found
    return made.openapi_schema
