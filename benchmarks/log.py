"""The traffic log: what is left of it when the process is killed, and what the group commit saves.

Kills: a process appends from many clients at once, with small segments so that drains are under way too, and is killed
with SIGKILL at a random moment, again and again on the same home. A client notes each id only when it was acknowledged.
In the end every acknowledged record must be in the log once, none twice, and each drained segment once in the ledger.
With `--server` the process is the real `evertune serve`, asked over HTTP: it wants a release of `--project` in
EVERTUNE_HOME (`make demo-quick`), whose own log it leaves alone.

Group commit: appends a second at 1, 16 and 64 callers, against the same writer with one fsync a record, in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import os
import random
import re
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple
from unittest import mock

from benchmarks import _log_process, _log_server
from benchmarks._machine import describe, spread

from evertune.ledger import engine as engines
from evertune.ledger import segments
from evertune.serving.log import TrafficLog, reading, traffic, writer
from evertune.settings import Settings
from evertune.settings import load as load_settings

ANY = re.compile(r".+")
EVER = (datetime(2020, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))


class Kills(NamedTuple):
    """What was found after the kills."""

    kills: int
    acknowledged: int
    lost: int
    """Acknowledged, and not in the log or not found by their id."""
    doubled: int
    unacknowledged: int
    """In the log though nobody was told so: written when the kill came."""
    rows: int
    """Segments in the ledger."""
    wrong_rows: int
    """Records that the ledger's rows and the log disagree about."""


def kill_a_process(home: Path, kills: int, seed: int = 0) -> Kills:
    """Kill ``kills`` times, let one more process recover, and compare what was acknowledged with what is there."""
    _log_process.kill_again_and_again(home, kills, seed=seed)
    return compare(home, kills)


def kill_the_server(settings: Settings, project: str, home: Path, kills: int) -> Kills:
    """The same with the real server on a copy of the installation's release, under HTTP load."""
    key = _log_server.copied(settings, project, home)
    _log_server.kill_again_and_again(home, project, key, kills, clients=_log_process.CLIENTS)
    return compare(home, kills, project, re.compile(r"r\d+c\d+n\d+p\d+"))


def compare(home: Path, kills: int, project: str = "reviews", ours: re.Pattern[str] = ANY) -> Kills:
    """What was acknowledged, what is there, what the ledger says. ``ours``: first words of texts that were counted."""
    lines = [line.split() for line in (home / "acknowledged").read_text().splitlines()]
    told = dict(line for line in lines if len(line) == 2)  # the last line may be torn by the kill
    table = reading.traffic(home, project, *EVER).to_table(columns=["id", "text"])
    everything = {row["id"]: row["text"].split()[0] for row in table.to_pylist()}
    there = {id_: word for id_, word in everything.items() if ours.fullmatch(word)}
    counts = collections.Counter(table.column("id").to_pylist())
    texts = collections.Counter(there.values())
    some = random.Random(1).sample(sorted(told), min(500, len(told)))
    found = {id_: reading.find(home / "traffic", id_) for id_ in some}
    lost = {id_ for id_, text in told.items() if there.get(id_) != text}
    lost |= {id_ for id_, row in found.items() if row is None or row.answer.text.split()[0] != told[id_]}
    ledger = engines.ready(f"sqlite:///{home}/ledger.db")
    rows = segments.all(ledger)
    ledger.dispose()
    return Kills(
        kills=kills,
        acknowledged=len(told),
        lost=len(lost),
        doubled=sum(count > 1 for count in counts.values()) + sum(count > 1 for count in texts.values()),
        unacknowledged=len(there) - len(told),
        rows=len(rows),
        wrong_rows=abs(sum(row.records for row in rows) - len(everything)),
    )


class OneByOne(writer.Writer):
    """The same writer, with one fsync a record."""

    def _write(self, slots: list[writer.Slot]) -> None:
        for slot in slots:
            super()._write([slot])


def appends_a_second(kind: type[writer.Writer], callers: int, seconds: float, folder: Path) -> tuple[float, float]:
    """Appends a second in a closed loop, and the median wait in milliseconds."""
    waits: list[float] = []

    async def caller(log: TrafficLog, until: float) -> None:
        while (began := time.perf_counter()) < until:
            await log.append([_log_process.answer("a sentence of a review, as long as those that people write")])
            waits.append(time.perf_counter() - began)

    async def run() -> float:
        log = TrafficLog(Path(tempfile.mkdtemp(dir=folder)))
        began = time.perf_counter()
        await asyncio.gather(*(caller(log, began + seconds) for _ in range(callers)))
        took = time.perf_counter() - began
        await log.close()
        return len(waits) / took

    with mock.patch.object(traffic, "Writer", kind):
        rate = asyncio.run(run())
    return rate, statistics.median(waits) * 1000


def fsync_ms(folder: Path) -> float:
    """Median milliseconds of one fdatasync behind a kilobyte."""
    descriptor, _ = tempfile.mkstemp(dir=folder)
    seconds = []
    for _ in range(200):
        os.write(descriptor, bytes(1000))
        began = time.perf_counter()
        os.fdatasync(descriptor)
        seconds.append(time.perf_counter() - began)
    os.close(descriptor)
    return statistics.median(seconds) * 1000


def group_commit(folder: Path, rounds: int, seconds: float) -> None:
    """Print the table."""
    print(f"one fdatasync behind 1 kB: {fsync_ms(folder):.2f} ms (median of 200), on {folder}")
    for callers in (1, 16, 64):
        together, alone = [], []
        for _ in range(rounds):
            together.append(appends_a_second(writer.Writer, callers, seconds, folder))
            alone.append(appends_a_second(OneByOne, callers, seconds, folder))
        ratios = [ours[0] / theirs[0] for ours, theirs in zip(together, alone, strict=True)]
        print(
            f"{callers:3} callers: {_line(together)}; one fsync a record: {_line(alone)}; ratio {spread(ratios)}",
            flush=True,
        )


def _line(measured: Sequence[tuple[float, float]]) -> str:
    rate, wait = (statistics.median(values) for values in zip(*measured, strict=True))
    return f"{rate:,.0f} appends/s, wait {wait:.2f} ms"


def main() -> int:
    """Print the figures; status 1 where a record was lost or doubled."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--server", action="store_true", help="kill the real server under HTTP load, and nothing else")
    parser.add_argument("--project", default="review-sentiment", help="whose release the server answers with")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=2.0)
    parser.add_argument("--folder", type=Path, help="a folder on the disk to measure; the system's own without it")
    options = parser.parse_args()
    print(describe("orjson", "pyarrow", "numpy"))
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        began = time.monotonic()
        if options.server:
            found = kill_the_server(load_settings(), options.project, Path(scratch), options.kills)
        else:
            found = kill_a_process(Path(scratch), options.kills)
        print(f"{found} in {time.monotonic() - began:.0f} s", flush=True)
    if options.server:
        return status(found)
    with tempfile.TemporaryDirectory(dir=options.folder) as scratch:
        group_commit(Path(scratch), options.rounds, options.seconds)
    return status(found)


def status(found: Kills) -> int:
    """1 where a record was lost or doubled, or the ledger tells of others, or nothing was asked at all."""
    return 1 if found.lost or found.doubled or found.wrong_rows or not found.acknowledged else 0


if __name__ == "__main__":
    sys.exit(main())
