"""A FastAPI route that costs little: the body is read within bounds, parsed once, and checked by its model.

FastAPI's own handling of a body reads it without bound and walks a tree of dependencies for each request. The OpenAPI
document is made from the same signature and models as for any other route.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any, get_type_hints

from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from evertune.serving.http import bodies
from evertune.serving.http.guard import CALL, Call
from evertune.serving.http.problems import Fault, invalid

_MOST_FAULTS = 20
_MOST_MEMBERS = 100
"""No model has as many. Pydantic tells of each that it does not know, which takes longer than all else together."""


class Lean(APIRoute):
    """For endpoints ``(request, …path parameters as text…, body) -> Response``."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self._body: TypeAdapter[BaseModel] = TypeAdapter(get_type_hints(endpoint)["body"])
        self._names = [name for name in inspect.signature(endpoint).parameters if name not in ("request", "body")]
        self.app = self._answer

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        call: Call = scope[CALL]
        limits = call.service.limits
        document = bodies.parse(await bodies.read(scope, receive, limits, call.arrived + limits.deadline_s))
        if len(document) > _MOST_MEMBERS:
            raise invalid(
                Fault(where="body", what=f"has {len(document):,} members, at most {_MOST_MEMBERS} may be given")
            )
        try:
            body = self._body.validate_python(document)
        except ValidationError as fault:
            raise invalid(*faults(fault, "body")) from None
        values = [scope["path_params"][name] for name in self._names]
        response = await self.endpoint(Request(scope), *values, body)
        await response(scope, receive, send)


def faults(found: ValidationError, where: str) -> list[Fault]:
    """What is wrong, by its place; never the value itself, which may be anything."""
    return named_faults(found.errors(include_url=False, include_context=False, include_input=False), where)


def named_faults(found: Any, where: str) -> list[Fault]:
    """Pydantic's errors as faults, the first ones."""
    there: dict[str, str] = {}
    for error in found[:_MOST_FAULTS]:
        # Where one of several types is allowed, pydantic names the type that it tried; the place stays the same.
        parts = [part for part in error["loc"] if part not in ("str", "list[str]")]
        place = where + "".join(f"[{part}]" if isinstance(part, int) else f".{part}"[:100] for part in parts)
        there[place] = f"{there[place]}; {error['msg']}" if place in there else error["msg"]
    return [Fault(where=place, what=what) for place, what in there.items()]
