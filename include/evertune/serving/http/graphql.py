"""GraphQL over HTTP: one operation a request, with the same keys, limits and log as REST.

A document is parsed once and measured before it is validated, so a hostile one costs what reading it costs.
"""

from __future__ import annotations

import logging
from typing import Any

import strawberry
from fastapi import APIRouter
from graphql import ExecutionResult, GraphQLError
from pydantic import ValidationError
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from strawberry.extensions import DisableIntrospection
from strawberry.schema.config import StrawberryConfig
from strawberry.types import ExecutionContext

from evertune.records import JsonObject
from evertune.serving.http import graphql_limits as limits
from evertune.serving.http import page
from evertune.serving.http.graphql_schema import Mutation, Query
from evertune.serving.http.guard import CALL, Call
from evertune.serving.http.lean import Lean, faults
from evertune.serving.http.problems import RefusedError, dumps, invalid, overloaded
from evertune.serving.http.rest import BODY
from evertune.serving.http.schemas import GraphQLAnswer, GraphQLBody

_CHARACTERS_A_REQUEST = 200
"""So much of a document is as dear to read and validate as a request by REST is to answer: milliseconds."""
_log = logging.getLogger(__name__)
router = APIRouter()
_lean = APIRouter(route_class=Lean)


class _Schema(strawberry.Schema):
    def process_errors(self, errors: list[GraphQLError], execution_context: ExecutionContext | None = None) -> None:  # noqa: ARG002
        """Log what is a fault of ours. What the caller did wrong is told to the caller."""
        for error in errors:
            if (cause := _cause(error)) is not None and _as_refusal(cause) is None:
                _log.error("GraphQL %s failed", error.path, exc_info=cause)


_config = StrawberryConfig(batching_config=None)
schema = _Schema(query=Query, mutation=Mutation, config=_config)
"""The schema, with introspection."""
_closed = _Schema(query=Query, mutation=Mutation, config=_config, extensions=[DisableIntrospection])


@_lean.post(
    "/graphql", operation_id="graphql", tags=["graphql"], response_model=GraphQLAnswer, responses=BODY
)  # fmt: skip
async def graphql(request: Request, body: GraphQLBody) -> Response:
    """Run one GraphQL operation."""
    call: Call = request.scope[CALL]
    bounds = call.service.limits
    call.service.surcharge(call.known, len(body.query) // _CHARACTERS_A_REQUEST)
    document = limits.read(body.query, bounds)
    asked = limits.check(document, body.variables, bounds)
    limits.check_operation(document, body.operation_name)
    if asked.predictions > 1:  # the request itself is paid for
        call.service.charge(call.known, asked.predictions - 1)
    with call.service.busy_with_graphql() as busy:
        if busy > bounds.graphql_concurrency:
            call.service.meters.refused("graphql-concurrency")
            raise overloaded(1.0)
        found = await _run(call, body)
    return Response(dumps(_answer(found)), media_type="application/json", headers={"cache-control": "no-store"})


async def _run(call: Call, body: GraphQLBody) -> ExecutionResult:
    introspects = call.service.openness.docs or "admin" in call.known.scopes
    found: Any = await (schema if introspects else _closed).execute(
        body.query, variable_values=body.variables, context_value=call, operation_name=body.operation_name
    )
    return ExecutionResult(found.data, found.errors)


def _answer(found: ExecutionResult) -> JsonObject:
    answer: JsonObject = {"data": found.data}
    if found.errors:
        answer["errors"] = [_error(error) for error in found.errors]
    return answer


def _error(error: GraphQLError) -> JsonObject:
    if (cause := _cause(error)) is None:
        refusal = RefusedError(400, "query-refused", error.message)
    else:
        refusal = _as_refusal(cause) or RefusedError(500, "unexpected", "The server's log says more.")
    extensions: JsonObject = {"type": f"urn:evertune:{refusal.kind}", "status": refusal.status}
    if refusal.retry_after_s is not None:
        extensions["retryAfter"] = int(refusal.headers["retry-after"])
    return {"message": refusal.detail, "path": error.path, "extensions": extensions}


def _cause(error: GraphQLError) -> Exception | None:
    """What failed below the operation; ``None`` where that or its variables do not fit the schema."""
    cause: Exception = error
    while isinstance(cause, GraphQLError) and cause.original_error is not None:
        cause = cause.original_error
    # One that names no part of the document, below a field, tells of what our resolver gave.
    unfit = isinstance(cause, GraphQLError) and (error.path is None or cause.nodes)
    return None if unfit else cause


def _as_refusal(cause: Exception) -> RefusedError | None:
    if isinstance(cause, ValidationError):
        return invalid(*faults(cause, "arguments"))
    return cause if isinstance(cause, RefusedError) else None


@router.get("/graphql", include_in_schema=False)
async def console() -> HTMLResponse:
    """GraphiQL."""
    return page.console(schema.as_str())


router.include_router(_lean)
