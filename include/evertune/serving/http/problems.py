"""Refusals as problem documents (RFC 9457): what is wrong, where in the request, and what to do about it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from http import HTTPStatus
from typing import Annotated

import orjson
from pydantic import BaseModel, ConfigDict, Field
from starlette.responses import Response

MEDIA_TYPE = "application/problem+json"
REALM = "evertune"
LEDGER_RETRY_S = 10.0
"""When to ask again for what only the ledger knows."""


class Fault(BaseModel):
    """One thing that is wrong with a request."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    where: str
    """Place in the request: ``body.texts[3]``, ``query.limit``."""
    what: str
    """What is wrong there, in words."""


class Problem(BaseModel):
    """The body of every answer that is not a success."""

    model_config = ConfigDict(use_attribute_docstrings=True)

    type: str
    """Stable name of the kind of problem, for programs: ``urn:evertune:overloaded``."""
    title: str
    """The kind in words; the same for each problem of a type."""
    status: Annotated[int, Field(ge=400, le=599)]
    detail: str
    """What is wrong with this request and what to do about it."""
    errors: list[Fault] | None = None
    """Each fault of a body or a query that was not understood."""


class RefusedError(Exception):
    """A request is answered with a problem document. Raised anywhere below a route."""

    def __init__(
        self,
        status: int,
        kind: str,
        detail: str,
        *,
        retry_after_s: float | None = None,
        close: bool = False,
        headers: dict[str, str] | None = None,
        errors: Sequence[Fault] = (),
    ) -> None:
        """``close`` ends the connection, for a body that is not read to its end and for a server that is going."""
        super().__init__(detail)
        self.status, self.kind, self.detail = status, kind, detail
        self.retry_after_s, self.close, self.errors = retry_after_s, close, tuple(errors)
        self._headers = headers or {}

    @property
    def headers(self) -> dict[str, str]:
        """What the answer carries beside the document."""
        found = {**self._headers, "cache-control": "no-store"}
        if self.retry_after_s is not None:
            found["retry-after"] = str(max(1, math.ceil(self.retry_after_s)))
        if self.close:
            found["connection"] = "close"
        return found

    def document(self) -> dict[str, object]:
        """The problem as JSON values."""
        found: dict[str, object] = {
            "type": f"urn:evertune:{self.kind}",
            "title": TITLES.get(self.kind) or HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": self.detail,
        }
        if self.errors:
            found["errors"] = [{"where": fault.where, "what": fault.what} for fault in self.errors]
        return found

    def response(self) -> Response:
        """The answer to send."""
        return Response(dumps(self.document()), self.status, self.headers, MEDIA_TYPE)


TITLES = {
    "bad-http": "The request is not HTTP",
    "bad-json": "The body is not JSON",
    "body-too-large": "The body is too large",
    "body-too-slow": "The body did not arrive in time",
    "closing": "The server is going down",
    "deadline": "There was no time to answer",
    "forbidden": "The key lacks a scope",
    "head-too-large": "Path and headers are too large",
    "head-too-slow": "The request did not arrive in time",
    "host": "The request names another host",
    "invalid": "The request was not understood",
    "ledger-away": "The ledger cannot be reached",
    "log-full": "Answers cannot be logged",
    "media-type": "The body is not declared as JSON",
    "no-release": "No release answers yet",
    "overloaded": "The server has more to do than it can",
    "query-refused": "The GraphQL document is refused",
    "rate": "The key asks too often",
    "unauthenticated": "A valid key is needed",
    "unexpected": "Something went wrong in the server",
    "unknown": "There is no such thing",
}
"""Kind of problem → its title."""


def dumps(value: object) -> bytes:
    """JSON of ``value``. A lone surrogate, which UTF-8 cannot hold, becomes U+FFFD."""
    try:
        return orjson.dumps(value, option=orjson.OPT_NON_STR_KEYS | orjson.OPT_SERIALIZE_NUMPY)
    except TypeError:
        return orjson.dumps(_mended(value), option=orjson.OPT_NON_STR_KEYS)


def _mended(value: object) -> object:
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, dict):
        return {_mended(key): _mended(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_mended(one) for one in value]
    return value if isinstance(value, int | float | None) else str(value)


def unauthenticated(detail: str, *, presented: bool, basic: bool = False) -> RefusedError:
    """401. Where a key was presented the challenge says that this one is no good (RFC 6750).

    ``basic`` lets a browser ask its user for the key, as a password.
    """
    challenge = f'Bearer realm="{REALM}"' + (', error="invalid_token"' if presented else "")
    challenge += f', Basic realm="{REALM}: a key as the password", charset="UTF-8"' if basic else ""
    return RefusedError(401, "unauthenticated", detail, headers={"www-authenticate": challenge}, close=True)


def unknown(what: str) -> RefusedError:
    """404, in the same words for what is not there and for what another key may see."""
    return RefusedError(
        404, "unknown", f"There is no {what} that this key may see. Check its name and the key's projects."
    )


def no_release(why: str) -> RefusedError:
    """503: nothing answers yet, and may soon."""
    return RefusedError(503, "no-release", f"{why} Try again after Retry-After.", retry_after_s=5)


def invalid(*faults: Fault) -> RefusedError:
    """422 with every fault."""
    return RefusedError(
        422, "invalid", "; ".join(f"{fault.where}: {fault.what}" for fault in faults[:3]), errors=faults
    )


def too_late(deadline_s: float) -> RefusedError:
    """503: the request's time has run out, wherever it was."""
    return RefusedError(
        503, "deadline", f"The answer was not ready within {deadline_s:g} s. Try again, with less.", retry_after_s=1
    )


def overloaded(retry_after_s: float) -> RefusedError:
    """503, for a queue that is full."""
    return RefusedError(
        503, "overloaded", "Too many texts are waiting already. Try again after Retry-After.",
        retry_after_s=retry_after_s,
    )  # fmt: skip
