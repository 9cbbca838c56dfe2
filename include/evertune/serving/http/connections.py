"""A connection before there is a request on it, where nobody else looks: how long its head takes, and how large it is.

uvicorn times only a connection that has had an answer and says nothing since. Without this a client holds one for ever
with a header a minute (slowloris), or fills the memory with one header, or with requests behind one that is still to be
answered: one piece of what comes holds thousands of them, each a hundred times as large when it is read.
"""

from __future__ import annotations

import asyncio
import resource
from typing import Any

from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol  # noqa: TID253 - whoever imports this will serve

from evertune.serving.http.problems import MEDIA_TYPE, RefusedError, dumps, overloaded
from evertune.serving.http.service import Service

NO_HTTP = RefusedError(
    400, "bad-http", "This is no HTTP/1.1 request that can be read. See which client or proxy made it.", close=True
)


class Connection(HttpToolsProtocol):
    """One connection. While a response is under way the request's own deadline holds."""

    service: Service
    _patience: asyncio.TimerHandle | None = None
    _unread: asyncio.TimerHandle | None = None
    """Runs while the client does not read what is sent to it."""
    _in_head = _in_body = False
    _went_on = False
    """Whether what came last ended a head or held a part of a body."""
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Wait for a head; more connections than there may be are told so."""
        super().connection_made(transport)
        if len(self.connections) > most_connections(self.service):
            self._refuse("connections", overloaded(1.0))
            return
        self._wait()

    def data_received(self, data: bytes) -> None:
        """Hand on what came, and see whether a head that it belongs to takes too long or becomes too large."""
        self._went_on = False
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self._idle:
            self._wait()
        if self._in_head or self._in_body:
            self._head_bytes = 0 if self._went_on else self._head_bytes + len(data)
            if self._head_bytes > self.service.limits.head_bytes:
                self._refuse("head-too-large", too_large(self.service) if self._unanswered else None)

    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - uvicorn's own words say no more
        """What came is no HTTP; that is told as everything else is."""
        self.transport.write(_raw(NO_HTTP))
        self.transport.close()
        self._end_soon()

    def _unsupported_upgrade_warning(self) -> None:
        """Another protocol is asked for, and the request answered without it: no warning, or anybody fills the log."""

    def on_message_begin(self) -> None:
        """A head begins."""
        self._in_head, self._in_body, self._head_bytes = True, False, 0
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header of the head. Those behind a body (trailers) are no part of it, and nobody asks for them."""
        if self._in_head:
            super().on_header(name, value)

    def on_body(self, body: bytes) -> None:
        """A part of a body. What comes instead of one, trailers and what stands before a chunk, is measured."""
        self._went_on = True
        super().on_body(body)

    def on_headers_complete(self) -> None:
        """A head is whole: a request begins, if it is not too large."""
        self._wait_no_more()
        self._in_head, self._in_body, self._went_on = False, True, True
        if self.transport.is_closing():  # what came in one piece with what ended it
            return
        if len(self.pipeline) >= self.service.limits.pipelined:
            self._refuse("pipelined", None)
            return
        size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
        if size > self.service.limits.head_bytes:
            self.app = self._answer_too_large
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """It is over."""
        self._wait_no_more()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client does not read: an answer may wait for it no longer than it may take."""
        limits = self.service.limits
        self._is_read()
        self._unread = self.loop.call_later(limits.deadline_s + limits.grace_s, self._abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """It reads again."""
        self._is_read()
        super().resume_writing()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing more was asked for: the end, also where the client has not read its last answer."""
        super().timeout_keep_alive_handler()
        self._end_soon()

    def _is_read(self) -> None:
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def _end_soon(self) -> None:
        # Closed, a transport still waits until all that it has was taken: without this for ever.
        self.loop.call_later(self.service.limits.head_s, self.transport.abort)

    def _abort(self) -> None:
        self._unread = None
        self.service.meters.refused("not-read")
        self.transport.abort()

    @property
    def _idle(self) -> bool:
        return self.cycle is None or bool(self.cycle.response_complete)

    @property
    def _unanswered(self) -> bool:
        """Whether what comes has no answer yet, and no other one is under way."""
        return self._idle if self._in_head else not self.cycle.response_started

    def _wait(self) -> None:
        if self._patience is None:
            self._patience = self.loop.call_later(self.service.limits.head_s, self._end_of_patience)

    def _wait_no_more(self) -> None:
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None

    def _end_of_patience(self) -> None:
        self._patience = None
        if not self._idle:  # what came before was answered late; its end brings the next data, or uvicorn's own timer
            return
        slow = RefusedError(408, "head-too-slow", "The request did not arrive in time. Send it faster.", close=True)
        self._refuse("head-too-slow", slow if self._in_head else None)

    def _refuse(self, reason: str, refusal: RefusedError | None) -> None:
        """End the connection, with an answer where there is a question that can have one."""
        self.service.meters.refused(reason)
        if refusal is not None:
            self.transport.write(_raw(refusal))
        self.transport.close()
        self._end_soon()

    async def _answer_too_large(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.service.meters.refused("head-too-large")
        await too_large(self.service).response()(scope, receive, send)


def bounded(service: Service) -> type[Connection]:
    """The class of this server's connections, as uvicorn wants it."""
    return type("BoundedConnection", (Connection,), {"service": service})


def most_connections(service: Service) -> int:
    """How many there may be: files that the log and the releases need must be left."""
    return min(service.limits.connections, resource.getrlimit(resource.RLIMIT_NOFILE)[0] // 2)


def too_large(service: Service) -> RefusedError:
    """431."""
    most = service.limits.head_bytes
    return RefusedError(431, "head-too-large", f"Path and headers may have {most:,} bytes together.", close=True)


def _raw(refusal: RefusedError) -> bytes:
    """The refusal as bytes, for a request that no application has seen."""
    body = dumps(refusal.document())
    fields: dict[str, Any] = {
        **refusal.headers, "connection": "close", "content-type": MEDIA_TYPE, "content-length": len(body)
    }  # fmt: skip
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {refusal.status} {refusal.document()['title']}\r\n{lines}\r\n".encode() + body
