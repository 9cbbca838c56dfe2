"""What every request passes first: is the server well, is there a key, has it asked too often.

Plain ASGI around the whole application. A path that is not named in :data:`SURFACES` needs a valid key, whether a
route answers there or not, so a route that somebody adds is closed until somebody opens it.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import logging
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from evertune.serving.access import DeniedError
from evertune.serving.http.assets import ASSETS
from evertune.serving.http.bodies import GoneError
from evertune.serving.http.problems import LEDGER_RETRY_S, RefusedError, overloaded, too_late, unauthenticated

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.http.service import Service

_log = logging.getLogger(__name__)

CALL = "evertune.call"
"""Key of the :class:`Call` in the ASGI scope."""

Surface = Literal["always", "page", "docs", "metrics"]

SURFACES: dict[str, Surface] = {
    "/healthz": "always",
    "/readyz": "always",
    "/review": "always",
    "/": "page",
    "/v1/overview": "page",
    "/docs": "docs",
    "/openapi.json": "docs",
    "/graphql": "docs",
    "/metrics": "metrics",
    **dict.fromkeys(ASSETS, "docs"),
}
"""Paths whose GET may be open without a key: always, or where :class:`Openness` says so."""

_FORWARDED = {b"forwarded", b"via", b"x-forwarded-for", b"x-forwarded-host", b"x-real-ip"}
"""What a proxy adds. Behind one on the same machine everybody seems to come from it, and to name it as the host."""
_HEADERS = [(b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer")]


class Call(NamedTuple):
    """What a route needs to know of its request."""

    service: Service
    caller: Identity | None
    """``None`` on an open surface."""
    arrived: float
    """When the request's first byte was here, in the loop's time."""

    @property
    def known(self) -> Identity:
        """The caller of a route that is never open."""
        if self.caller is None:
            raise unauthenticated("This needs a key.", presented=False)
        return self.caller


class Guard:
    """The outermost layer of the application. It also counts, and turns refusals and faults into problem documents."""

    def __init__(self, app: ASGIApp, service: Service) -> None:
        self._app, self._service = app, service
        self._in_flight = 0
        self._of_key: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the request through, or answer for the application."""
        if scope["type"] != "http":
            await self._other(scope, receive, send)
            return
        arrived = asyncio.get_running_loop().time()
        status = 0
        # The routes answer HEAD as GET: the server below this sends no body with it, whatever it is given.
        routed = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def counted(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        self._in_flight += 1
        limits = self._service.limits
        end = asyncio.timeout_at(arrived + limits.deadline_s + limits.grace_s)
        try:
            async with end:
                routed[CALL] = call = Call(self._service, await self._admitted(scope), arrived)
                with self._share(call.caller):
                    await self._app(routed, receive, counted)
        except GoneError:
            status = 499
        except Exception as fault:
            if status:
                raise
            await self._refusal(fault, scope, late=end.expired()).response()(scope, receive, counted)
        finally:
            self._in_flight -= 1
            route = getattr(routed.get("route"), "path", "none")
            took = asyncio.get_running_loop().time() - arrived
            self._service.meters.request(route, _method(scope), status, took)

    def _refusal(self, fault: Exception, scope: Scope, *, late: bool) -> RefusedError:
        if isinstance(fault, RefusedError):
            return fault
        if late:
            self._service.meters.refused("deadline")
            return too_late(self._service.limits.deadline_s)
        _log.error("%s %s failed", scope["method"], scope["path"], exc_info=fault)
        # Not even a message that is meant for people: it is for those who run the server, and may name its files.
        return RefusedError(500, "unexpected", "The server's log says more.")

    async def _other(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        else:  # no route speaks WebSocket, so none may be reached by it without a key
            await send({"type": "websocket.close", "code": 1008})

    async def _admitted(self, scope: Scope) -> Identity | None:
        path = scope["path"]
        surface = SURFACES.get(path) if scope["method"] in ("GET", "HEAD") else None
        if surface == "always":
            return None
        self._check_well()
        if surface is not None and self._is_open(surface, scope):
            return None
        presented = _presented(scope, basic=surface is not None)
        caller = await self._identify(presented, basic=surface is not None)
        if surface is not None:
            _check_admin(caller, surface)
        self._service.charge(caller)
        return caller

    def _check_well(self) -> None:
        service = self._service
        if service.closing:
            raise RefusedError(503, "closing", "This server is going down. Ask again.", retry_after_s=1, close=True)
        if self._in_flight > service.limits.concurrency:
            service.meters.refused("concurrency")
            raise overloaded(1.0)

    @contextlib.contextmanager
    def _share(self, caller: Identity | None) -> Iterator[None]:
        """One key has about half of the places at most, so that its slow bodies cannot keep all others out."""
        key = caller.key_id if caller else ""
        if key and self._of_key[key] > self._service.limits.concurrency // 2:
            self._service.meters.refused("concurrency")
            raise overloaded(1.0)
        self._of_key[key] += 1
        try:
            yield
        finally:
            self._of_key[key] -= 1

    def _is_open(self, surface: Surface, scope: Scope) -> bool:
        openness = self._service.openness
        if not getattr(openness, surface) or any(name in _FORWARDED for name, _ in scope["headers"]):
            return False
        return not openness.hosts or _host(scope) in openness.hosts

    async def _identify(self, presented: str | None, *, basic: bool) -> Identity:
        try:
            return await self._service.access.admit(presented)
        except DeniedError as fault:
            self._service.meters.refused("key")
            if fault.status == 503:
                raise RefusedError(503, "ledger-away", fault.reason, retry_after_s=LEDGER_RETRY_S) from fault
            raise unauthenticated(fault.reason, presented=presented is not None, basic=basic) from fault


def _check_admin(caller: Identity, surface: Surface) -> None:
    # The page shows a caller's own projects only; the metrics are those of all.
    if not ("admin" in caller.scopes if surface != "metrics" else caller.allows("*", "admin")):
        every = " for all projects" if surface == "metrics" else ""
        raise RefusedError(403, "forbidden", f"This needs a key with the scope 'admin'{every}.")


def _presented(scope: Scope, *, basic: bool) -> str | None:
    """The key in ``Authorization``. A browser may send it as the password of Basic, to what it can only look at."""
    values = [value for name, value in scope["headers"] if name == b"authorization"]
    if not values:
        return None
    scheme, _, rest = values[0].decode("latin-1").partition(" ")
    if len(values) == 1 and scheme.lower() == "bearer":
        return str(rest.strip())
    if len(values) == 1 and basic and scheme.lower() == "basic":
        try:
            return str(base64.b64decode(rest, validate=True), "latin-1").partition(":")[2]
        except binascii.Error:
            return ""
    return ""


def _host(scope: Scope) -> str:
    host = next((value for name, value in scope["headers"] if name == b"host"), b"").decode("latin-1").lower()
    name, colon, port = host.rpartition(":")
    return name if colon and port.isdigit() else host


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"} else "other"
