"""`log.py`: a process that appends from many clients at once, killed again and again on the same home.

Its segments are small, so that drains are under way at the kills. A client notes each id only when it was acknowledged.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import random
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from evertune.ledger import engine as engines
from evertune.ledger import segments
from evertune.serving.log import Answer, TrafficLog

FORK = multiprocessing.get_context("fork")
CLIENTS = 16
EMBEDDING = np.random.default_rng(0).normal(size=384).astype(np.float16)


def answer(text: str) -> Answer:
    """An answer as MiniLM gives one: 384 numbers, two scores, a sentence."""
    now = datetime.now(UTC)
    output = {"label": "positive", "scores": [0.9, 0.1], "cut": False, "tokens": 40}
    return Answer("reviews", 3, 7, "d" * 64, text, output, EMBEDDING, "k" * 12, now - timedelta(milliseconds=5), now)


def kill_again_and_again(home: Path, kills: int, *, clients: int = CLIENTS, seed: int = 0) -> None:
    """Kill it ``kills`` times while it appends, and then let one more process recover.

    What was acknowledged is in ``<home>/acknowledged``: an id and the first word of its text a line.
    """
    engines.ready(f"sqlite:///{home}/ledger.db").dispose()
    moments = random.Random(seed)
    for run in range(kills):
        process = FORK.Process(target=append_until_killed, args=(home, run, clients))
        process.start()
        time.sleep(0.1 + moments.expovariate(3.0))
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert process.exitcode == -signal.SIGKILL
    recovery = FORK.Process(target=recover, args=(home,))  # threads of its own must not be forked with the next test
    recovery.start()
    recovery.join()
    assert recovery.exitcode == 0


def append_until_killed(home: Path, run: int, clients: int) -> None:
    """What the killed process does: many clients append until it ends."""
    ledger = engines.ready(f"sqlite:///{home}/ledger.db")
    acknowledged = os.open(home / "acknowledged", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    async def client(log: TrafficLog, name: int) -> None:
        number = 0
        while True:
            texts = [
                f"{run}.{name}.{number}.{part} " + "a word or two " * (number % 20) for part in range(number % 4 + 1)
            ]
            ids = await log.append([answer(text) for text in texts])
            lines = "".join(f"{id_} {text.split()[0]}\n" for id_, text in zip(ids, texts, strict=True))
            os.write(acknowledged, lines.encode())
            number += 1

    async def crowd() -> None:
        log = TrafficLog(home, on_closed=lambda one: segments.record(ledger, one), segment_bytes=200_000, segment_s=0.3)
        await asyncio.gather(*(client(log, name) for name in range(clients)))

    asyncio.run(crowd())


def recover(home: Path) -> None:
    """A server starts after the last kill, and ends."""
    ledger = engines.ready(f"sqlite:///{home}/ledger.db")

    async def run() -> None:
        log = TrafficLog(home, on_closed=lambda one: segments.record(ledger, one))
        log.recover()
        await log.close()

    asyncio.run(run())
