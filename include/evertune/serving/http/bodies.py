"""A request's body as a JSON object: read within bounds, parsed strictly."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Sequence
from typing import Any

import orjson
from starlette.types import Receive, Scope

from evertune.records import JsonObject
from evertune.serving.http.limits import Limits
from evertune.serving.http.problems import RefusedError

_JSON = re.compile(rb"application/(?:[\w.-]+\+)?json\s*(?:;\s*charset\s*=\s*\"?utf-8\"?\s*)?", re.IGNORECASE)
_MEMBER = re.compile(rb'"\s*:')


async def read(scope: Scope, receive: Receive, limits: Limits, deadline: float) -> bytes:
    """The body, of ``limits.body_bytes`` at most, by ``deadline`` (in the loop's time).

    A longer one is refused at its declared length, or at the byte that is too many; what came is let go.
    """
    _check_headers(scope, limits)
    message = await _next(receive, deadline)
    found: bytes = message.get("body", b"")
    if len(found) > limits.body_bytes:
        raise _too_large(limits)
    if not message.get("more_body"):
        return found
    pieces, size = [found], len(found)
    while message.get("more_body"):
        message = await _next(receive, deadline)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limits.body_bytes:
            raise _too_large(limits)
    return b"".join(pieces)


def _check_headers(scope: Scope, limits: Limits) -> None:
    kind = length = encoding = b""
    for name, value in scope["headers"]:
        if name == b"content-type":
            kind = value
        elif name == b"content-length":
            length = value
        elif name == b"content-encoding":
            encoding = value
    if kind != b"application/json" and not _JSON.fullmatch(kind.strip()):
        raise RefusedError(
            415, "media-type", "Send the body as JSON in UTF-8, with Content-Type: application/json.", close=True
        )
    if encoding not in (b"", b"identity"):
        raise RefusedError(415, "media-type", "Send the body without Content-Encoding.", close=True)
    if length and (not length.isdigit() or len(length) > 18 or int(length) > limits.body_bytes):
        raise _too_large(limits)


async def _next(receive: Receive, deadline: float) -> Any:
    try:
        async with asyncio.timeout_at(deadline):
            message = await receive()
    except TimeoutError:
        raise RefusedError(
            408, "body-too-slow", "The body did not arrive in time. Send it faster, or less of it.", close=True
        ) from None
    if message["type"] != "http.request":
        raise GoneError
    return message


class GoneError(Exception):
    """The client went away before its request was whole: there is nobody to answer."""


def _too_large(limits: Limits) -> RefusedError:
    return RefusedError(
        413, "body-too-large",
        f"The body may have {limits.body_bytes:,} bytes. Send fewer texts in each request.", close=True,
    )  # fmt: skip


def parse(body: bytes) -> JsonObject:
    """The JSON object in ``body``.

    Refused are NaN and Infinity, lone surrogates, bytes that are not UTF-8, and a name that an object has twice:
    parsers disagree about which of the two counts, so a proxy and this server might see different requests.
    """
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        raise _not_json(str(fault)) from None
    if not isinstance(value, dict):
        raise RefusedError(422, "invalid", "The body must be a JSON object.")
    # Each member leaves at least one match, so an object with doubled names has more matches than members.
    if len(_MEMBER.findall(body)) != len(value):
        _refuse_doubled(body)
    return value


def _refuse_doubled(body: bytes) -> None:
    try:
        json.loads(body, object_pairs_hook=_once)
    except RecursionError:
        raise _not_json("it is nested too deeply") from None


def _once(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name, value in pairs:
        if name in found:
            raise _not_json(f"an object has the name {name[:100]!r} twice")
        found[name] = value
    return found


def _not_json(why: str) -> RefusedError:
    return RefusedError(400, "bad-json", f"The body is not JSON that can be read: {why}.")
