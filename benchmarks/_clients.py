"""Clients that ask without a pause while something else happens: every request is noted, failed ones too."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from benchmarks import _servers


class Seen(NamedTuple):
    """One request."""

    began: float
    took: float
    status: str
    generation: int


class Load:
    """Closed loops of clients in a thread of their own, until told to stop; every request is noted."""

    def __init__(self, server: _servers.Server, port: int, texts: Sequence[str], clients: int) -> None:
        self.seen: list[Seen] = []
        self._stop = False
        self._port, self._clients = port, clients
        headers = "".join(f"{name}: {value}\r\n" for name, value in server.headers.items())
        bodies = [server.body(text).encode() for text in texts]
        self._requests = itertools.cycle([
            f"POST {server.path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n{headers}"
            f"Content-Length: {len(body)}\r\n\r\n".encode() + body
            for body in bodies
        ])  # fmt: skip

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Send requests until the block ends; those under way are waited for."""
        thread = threading.Thread(target=lambda: asyncio.run(self._all()))
        thread.start()
        try:
            yield
        finally:
            self._stop = True
            thread.join()

    async def _all(self) -> None:
        await asyncio.gather(*(self._client() for _ in range(self._clients)))

    async def _client(self) -> None:
        while not self._stop:
            began = time.perf_counter()
            try:
                reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
            except OSError:  # whoever may not even ask has been failed as well
                self.seen.append(Seen(began, time.perf_counter() - began, "no connection", 0))
                await asyncio.sleep(0.05)
                continue
            with contextlib.suppress(OSError, asyncio.IncompleteReadError):
                while not self._stop:
                    await self._request(reader, writer)
            writer.close()

    async def _request(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        began, status, generation = time.perf_counter(), "broken", 0
        try:
            writer.write(next(self._requests))
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            length = int(head.split(b"content-length:")[1].split(b"\r\n")[0])
            answer = json.loads(await reader.readexactly(length))
            status = head[9:12].decode()
            generation = answer["release"]["generation"] if status == "200" else 0
        finally:
            self.seen.append(Seen(began, time.perf_counter() - began, status, generation))
