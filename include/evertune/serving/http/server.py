"""uvicorn, with an end that loses no request: told to stop, it refuses what is new and finishes what it accepted."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable
from types import FrameType

import uvicorn  # noqa: TID253 - whoever imports this module is about to serve

from evertune.records import EvertuneError
from evertune.serving.http.connections import bounded
from evertune.serving.http.service import Service

LINGER_S = 0.5
"""How long it goes on listening after it was told to stop. A client that has not heard of it yet gets a 503 that says
so and closes the connection, rather than a connection that breaks."""


class Server(uvicorn.Server):
    """Serves until SIGTERM or SIGINT, and then :meth:`run` returns; a second signal does not wait for anything.

    uvicorn's own would raise the signal once more after its end, which kills the process before what stands after
    ``run()`` has a turn.
    """

    def __init__(
        self,
        config: uvicorn.Config,
        service: Service,
        linger_s: float = LINGER_S,
        on_listening: Callable[[], object] = lambda: None,
    ) -> None:
        config.http = bounded(service)
        config.ws = "none"  # no route speaks WebSocket: who asks for it is answered as anybody else
        super().__init__(config)
        self._service, self._linger_s, self._on_listening = service, linger_s, on_listening

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and say so. Raises :class:`EvertuneError` where that cannot be; uvicorn itself has told why."""
        try:
            await super().startup(sockets)
        except SystemExit as end:
            raise EvertuneError(
                f"The server cannot listen on port {self.config.port} of {self.config.host}. End what listens there, "
                "or name another one with --port and --host."
            ) from end
        self._on_listening()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:  # noqa: ARG002 - any signal is the same
        """Refuse new requests from now on; a moment later stop listening and wait for those under way."""
        if self._service.closing:
            self.force_exit = self.should_exit = True
            return
        self._service.closing = True
        stop = threading.Timer(self._linger_s, self._stop)
        stop.daemon = True
        stop.start()

    def _stop(self) -> None:
        self.should_exit = True
