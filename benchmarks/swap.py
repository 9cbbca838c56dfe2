"""New releases under constant load on the real server: requests that failed, and what a switch adds to the latency.

    python -m benchmarks.swap [--releases 50] [--clients 8] [--convert-every 25] [--project review-sentiment]

Wants a release: `make demo`, or `evertune run review-sentiment`, in the same EVERTUNE_HOME. Each release goes the whole
way: ledger, signature, MLflow, verification, warming, switch. The engine of a model that was here before is taken over,
as after a rollback; at every n-th release it is converted anew under the load. Exit status 1: a request failed.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import itertools
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from benchmarks import _servers
from benchmarks._machine import describe
from sqlalchemy import Engine

from evertune.ledger import engine as engines
from evertune.ledger import keys, releases, servers
from evertune.loop.followed import served_here
from evertune.loop.release import promote_by_hand
from evertune.project import Project
from evertune.project.load import find, load
from evertune.records import Release
from evertune.serving.shelf import CHECKS, ENGINE, Shelf
from evertune.settings import Settings
from evertune.settings import load as load_settings

SETTLED_S = 1.0
"""Requests that began within this time around a switch count as those beside it."""
PATIENCE_S = 300.0


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
            reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
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


def release_anew(project: Project, settings: Settings, engine: Engine, versions: Sequence[int], turn: int) -> Release:
    """Another generation: the project's versions, one after the other."""
    current = releases.current(engine, project.slug)
    assert current is not None
    version = versions[turn % len(versions)]
    return promote_by_hand(
        project, settings, by="benchmark", model_version=version, expected=current.generation
    )  # fmt: skip


def forget_engines(settings: Settings, slug: str) -> None:
    """Let the next release be converted: what lies on the disk is not needed by a server that runs."""
    shelf = Shelf(settings.home, slug)
    with shelf.locked():
        for generation in shelf.generations():
            shutil.rmtree(shelf.place(generation) / ENGINE, ignore_errors=True)


def until_answered(load_: Load, generation: int) -> float:
    """When the generation's first answer was asked for."""
    deadline, at = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < deadline:
        at, fresh = len(load_.seen), load_.seen[at:]
        for one in fresh:
            if one.generation == generation:
                return one.began
        time.sleep(0.02)
    raise SystemExit(f"generation {generation} did not answer within {PATIENCE_S:.0f} s")


def measure(given: argparse.Namespace, settings: Settings, key: str) -> tuple[list[Seen], list[float], list[float]]:
    """Every request, the switches' times, and how long each release took from the ledger to its first answer."""
    project = load(find(given.project, settings))
    engine = engines.ready(settings.database_url)
    history = releases.history(engine, project.slug)
    if not history:
        raise SystemExit(f"{project.slug} has no release in {settings.home}: run `evertune run {project.slug}` first.")
    versions = sorted({release.model_version for release in history})
    current = max(history, key=lambda release: release.generation)
    served_here(settings, current)
    texts = pq.read_table(Shelf(settings.home, project.slug).place(current.generation) / CHECKS)["text"].to_pylist()
    server, port = _servers.evertune(project.slug, key, settings.home), _servers.free_port()
    switches, delays = [], []
    with _servers.running(server, port):
        load_ = Load(server, port, texts[:500], given.clients)
        with load_.running():
            time.sleep(5)
            for turn in range(given.releases):
                if given.convert_every and turn % given.convert_every == given.convert_every - 1:
                    forget_engines(settings, project.slug)
                began = time.perf_counter()
                generation = release_anew(project, settings, engine, versions, turn).generation
                switches.append(until_answered(load_, generation))
                delays.append(switches[-1] - began)
                time.sleep(1.5)
    return load_.seen, switches, delays


def show(seen: Sequence[Seen], switches: Sequence[float], delays: Sequence[float]) -> bool:
    """Print the figures; whether no request failed and no answer went back to an older release."""
    failed = [one for one in seen if one.status != "200"]
    began = np.array([one.began for one in seen])
    took = np.array([one.took for one in seen]) * 1000
    beside = np.zeros(len(seen), bool)
    for switch in switches:
        beside |= np.abs(began - switch) < SETTLED_S
    print(f"{len(seen):,} requests over {len(switches)} releases: {len(failed)} failed or dropped")
    for name, part in (("beside a switch", beside), ("otherwise", ~beside)):
        p50, p99, worst = (*np.quantile(took[part], (0.5, 0.99)), took[part].max()) if part.any() else (0, 0, 0)
        print(f"{name}: {int(part.sum()):,} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms")
    if beside.any() and (~beside).any():
        print(f"worst added latency: {took[beside].max() - np.median(took[~beside]):.1f} ms over the usual median")
    print(f"from the ledger to the first answer: median {np.median(delays):.1f} s, worst {max(delays):.1f} s")
    return not failed


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description="Releases under constant load.")
    parser.add_argument("--releases", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--convert-every", type=int, default=25)
    parser.add_argument("--project", default="review-sentiment")
    given = parser.parse_args()
    settings = load_settings()
    print(describe("onnxruntime", "fastapi", "uvicorn"))
    engine = engines.ready(settings.database_url)
    made, key = keys.create(
        engine, name="benchmark", projects=[given.project], scopes=["predict"], by="benchmark", rate_per_s=100_000
    )
    try:
        seen, switches, delays = measure(given, settings, key)
    finally:
        keys.revoke(engine, made.id, by="benchmark")
    refused = [one for one in servers.all(engine, given.project) if one.refused_generation]
    for one in refused:
        print(f"{one.server} refused generation {one.refused_generation}: {one.reason}")
    return 0 if show(seen, switches, delays) and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
