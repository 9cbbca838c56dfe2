"""A closed loop of HTTP clients, in a process of its own: each sends its next request when the last is answered.

    python -m benchmarks._load ORDER.json

The order is a JSON object: host, port, path, headers, bodies (texts of JSON, taken in turn), clients, seconds, warm_s.
Prints one JSON object: requests, failed, per_s, p50_ms, p99_ms, worst_ms, statuses. Written against the sockets: a
client library would cost as much as the servers that it measures.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np


@dataclass
class Order:
    """What is asked, of whom, by how many, for how long."""

    port: int
    path: str
    bodies: Sequence[str]
    clients: int
    seconds: float
    host: str = "127.0.0.1"
    headers: Mapping[str, str] = field(default_factory=dict)
    warm_s: float = 2.0


class Result(NamedTuple):
    """What came of it; latencies in milliseconds, of the requests after the warm-up."""

    requests: int
    failed: int
    per_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    statuses: dict[str, int]


def run(order: Order) -> Result:
    """Run the loop in another process, so that this one's work does not slow it."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(asdict(order), file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks._load", file.name]
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    return Result(**json.loads(done.stdout))


def _requests(order: Order) -> list[bytes]:
    headers = "".join(f"{name}: {value}\r\n" for name, value in order.headers.items())
    return [
        f"POST {order.path} HTTP/1.1\r\nHost: {order.host}:{order.port}\r\nContent-Type: application/json\r\n"
        f"{headers}Content-Length: {len(body.encode())}\r\n\r\n{body}".encode()
        for body in order.bodies
    ]


async def _client(order: Order, requests: Iterator[bytes], until: float, seen: list[tuple[float, float, str]]) -> None:
    reader, writer = await asyncio.open_connection(order.host, order.port)
    try:
        while (began := time.perf_counter()) < until:
            try:
                writer.write(next(requests))
                head = await reader.readuntil(b"\r\n\r\n")
                status = head[9:12].decode()
                await _body(reader, head.lower())
            except (OSError, asyncio.IncompleteReadError):
                seen.append((began, time.perf_counter() - began, "broken"))
                writer.close()
                await asyncio.sleep(0.01)
                reader, writer = await asyncio.open_connection(order.host, order.port)
                continue
            seen.append((began, time.perf_counter() - began, status))
            if b"connection: close" in head.lower():
                writer.close()
                reader, writer = await asyncio.open_connection(order.host, order.port)
    finally:
        writer.close()


async def _body(reader: asyncio.StreamReader, head: bytes) -> None:
    if b"transfer-encoding: chunked" in head:
        while size := int(await reader.readline(), 16):
            await reader.readexactly(size + 2)
        await reader.readexactly(2)
        return
    length = next(line for line in head.split(b"\r\n") if line.startswith(b"content-length:"))
    await reader.readexactly(int(length.split(b":")[1]))


async def _all(order: Order) -> Result:
    requests, seen = itertools.cycle(_requests(order)), list[tuple[float, float, str]]()
    began = time.perf_counter()
    counted, until = began + order.warm_s, began + order.warm_s + order.seconds
    async with asyncio.TaskGroup() as group:
        for _ in range(order.clients):
            group.create_task(_client(order, requests, until, seen))
    kept = [(took, status) for start, took, status in seen if start >= counted]
    took_ms = np.array([took for took, _ in kept]) * 1000
    statuses = Counter(status for _, status in kept)
    good = sum(count for status, count in statuses.items() if status.startswith("2"))
    p50, p99 = np.quantile(took_ms, (0.5, 0.99)).tolist()
    return Result(len(kept), len(kept) - good, good / order.seconds, p50, p99, float(took_ms.max()), dict(statuses))


def main() -> None:
    """Do what the file says."""
    import uvloop

    order = Order(**json.loads(Path(sys.argv[1]).read_text()))
    print(json.dumps(uvloop.run(_all(order))._asdict()))


if __name__ == "__main__":
    main()
