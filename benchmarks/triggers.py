"""One retrain an alert: 32 monitors raise and rule on the same drift at once, round after round, on both databases.

Beside them 32 requests by the clock and by people come in, every one twice, and two schedulers' claimants work, with
leases that run out at once (so that each takes over from each) and killed with SIGKILL at random. The ledger's chain
of events is in the order of its commits, so it tells what went on. Printed a database: rounds, alerts, requests, runs,
kills, takeovers; what was lost or doubled, how often two runs were active; seconds a round and from alert to claim.

`--rounds 1000` is the whole of it. PostgreSQL: EVERTUNE_TEST_POSTGRES, else the one on its standard port.
"""

from __future__ import annotations

import argparse
import contextlib
import multiprocessing
import os
import random
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from benchmarks._machine import describe
from sqlalchemy import Engine, create_engine, select, text
from sqlalchemy.exc import OperationalError

from evertune.ledger import alerts, events, runs, segments, triggers, windows
from evertune.ledger import engine as engines
from evertune.ledger.cutting import Outline, Pending
from evertune.ledger.segments import Segment
from evertune.ledger.tables import TriggerRow
from evertune.ledger.traffic_tables import AlertRow
from evertune.project.monitoring_options import WindowOptions
from evertune.records import (
    AlertStatus,
    Cause,
    Decision,
    EvertuneError,
    Evidence,
    Outcome,
    Run,
    Signal,
    StaleError,
    Verdict,
    Window,
)
from evertune.releases.promote import promote

FORK = multiprocessing.get_context("fork")
PROJECT = "spam"
PROCESSES, THREADS = 8, 4
CLAIMANTS = 4
ROWS = 10
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
POSTGRES = os.environ.get("EVERTUNE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/test")


def end(engine: Engine, run: Run, decision: Decision = Decision.REJECT) -> None:
    verdict = Verdict(decision=decision, reasons=("no better",))
    runs.finish(engine, run, Outcome(run_key=run.key, project=PROJECT, method="full", verdict=verdict))


def begin(engine: Engine) -> None:
    """A release that can be accused."""
    triggers.request(engine, PROJECT, Cause.PERSON, "the first", "the first")
    run = runs.claim(engine, PROJECT, "the first", 600)
    assert run is not None
    promote(engine, run, PROJECT, 1, "digest", run.key, expected=0, by="gate")
    end(engine, run, Decision.PROMOTE)


def window(engine: Engine, number: int) -> Window:
    """The next window of traffic."""
    moment = NOON + timedelta(minutes=number)
    segments.record(
        engine,
        Segment(
            id=f"{number:016x}", node="n", opened=moment, closed=moment, records=ROWS, bytes=1, damaged=0,
            hours={PROJECT: {"2026-11-22/12": ROWS}}, folder="/nowhere",
        ),
    )  # fmt: skip

    def read(_pending: Pending) -> Outline:
        return Outline([1] * ROWS, [moment] * ROWS)

    made = windows.cut(engine, PROJECT, read, WindowOptions(rows=ROWS, fewest_rows=1))
    assert made is not None
    return made


def monitor(number: int, url: str, rounds: int, barrier: Any) -> None:
    """A process of four monitors that do all that a monitor does at once with 28 others."""
    engine = engines.ready(url)
    for turn in range(1, rounds + 1):
        barrier.wait()
        about = windows.get(engine, PROJECT, turn)
        assert about is not None
        crowd = [
            threading.Thread(target=one_alert, args=(engine, about, turn, number * THREADS + one))
            for one in range(THREADS)
        ]
        for one in crowd:
            one.start()
        for one in crowd:
            one.join()
        barrier.wait()
    engine.dispose()


def one_alert(engine: Engine, about: Window, turn: int, number: int) -> None:
    alerts.record(engine, about, (), Evidence(total=2.0), (Signal.EMBEDDING,))
    triggers.request(engine, PROJECT, Cause.PERSON, f"{turn}/{number // 2}", "asked")  # two ask each
    alerts.rule(engine, PROJECT, lambda _alert, _standing: (True, "go"))


def claimant(url: str) -> None:
    """Takes whatever run there is, works a moment, and ends it; refused where another has taken it over."""
    engine = engines.ready(url)
    while True:
        with contextlib.suppress(StaleError):
            run = runs.claim(engine, PROJECT, f"process {os.getpid()}", 0)
            if run is None:
                time.sleep(0.005)
                continue
            time.sleep(random.uniform(0, 0.003))
            end(engine, run)


def play(url: str, rounds: int, kills: float) -> dict[str, object]:
    engine = engines.ready(url)
    begin(engine)
    barrier = FORK.Barrier(PROCESSES + 1)
    monitors = [FORK.Process(target=monitor, args=(one, url, rounds, barrier)) for one in range(PROCESSES)]
    claimants = [FORK.Process(target=claimant, args=(url,)) for _ in range(CLAIMANTS)]
    for one in (*monitors, *claimants):
        one.start()
    killed, took = 0, []
    for turn in range(1, rounds + 1):
        window(engine, turn)
        started = time.perf_counter()
        barrier.wait()
        while random.random() < kills:
            killed += kill(claimants, url)
        barrier.wait()
        answered(engine, turn, claimants, url)
        took.append(time.perf_counter() - started)
    for one in monitors:
        one.join()
    for one in claimants:
        one.kill()
        one.join()
    while last := runs.claim(engine, PROJECT, "the last", 600):
        end(engine, last)
    alerts.settle(engine, PROJECT)
    found = judge(engine, rounds)
    engine.dispose()
    return {**found, "kills": killed, "seconds a round": f"{statistics.median(took):.2f}"}


def kill(claimants: list[Any], url: str) -> bool:
    victim = random.randrange(len(claimants))
    time.sleep(random.uniform(0, 0.02))
    os.kill(claimants[victim].pid, signal.SIGKILL)
    claimants[victim].join()
    claimants[victim] = FORK.Process(target=claimant, args=(url,))
    claimants[victim].start()
    return True


def answered(engine: Engine, turn: int, claimants: list[Any], url: str) -> None:
    """Wait for the round's alert to have had its run: only then can drift raise the next."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for place, one in enumerate(claimants):
            if not one.is_alive():  # it gave up, as a process may; another takes its place
                claimants[place] = FORK.Process(target=claimant, args=(url,))
                claimants[place].start()
        alerts.settle(engine, PROJECT)
        if alerts.history(engine, PROJECT, 1)[0].status == AlertStatus.ANSWERED:
            return
        time.sleep(0.005)
    raise EvertuneError(f"the alert of round {turn} had no run within a minute")


def judge(engine: Engine, rounds: int) -> dict[str, object]:
    """What the ledger says of it all."""
    with engines.reading(engine) as session:
        asked = [row for row in session.scalars(select(TriggerRow)) if row.key != "the first"]
        raised = list(session.scalars(select(AlertRow)))
        lost = [row.key for row in asked if row.answer != triggers.VERDICT]
        doubled = [row.key for row in asked if row.runs != 1]
    active, twice, resumed = None, 0, 0
    absorbed: Counter[str] = Counter()
    told = events.undelivered(engine, 10_000_000)
    for one in told:
        if one.kind == events.Kind.STARTED:
            twice += active is not None
            active = one.payload["run"]
            absorbed.update(one.payload["triggers"])
        elif one.kind == events.Kind.VERDICT:
            twice += one.payload["run"] != active
            active = None
        resumed += one.kind == events.Kind.RESUMED
    wanted = rounds + rounds * PROCESSES * THREADS // 2
    return {
        "rounds": rounds,
        "alerts": len(raised),
        "requests": len(asked),
        "runs": sum(one.kind == events.Kind.STARTED for one in told) - 1,
        "takeovers": resumed,
        "lost": len(lost) + wanted - len(asked),
        "doubled": len(doubled) + sum(count > 1 for count in absorbed.values()) + len(raised) - rounds,
        "two active": twice,
        "faults of the chain": len(events.verify(engine)),
        "median ms from alert to claim": f"{statistics.median(delays(engine)) * 1000:.0f}",
    }


def delays(engine: Engine) -> list[float]:
    begun = {run.key: run.created for run in runs.history(engine, PROJECT, 10_000_000)}
    with engines.reading(engine) as session:
        drift = session.scalars(select(TriggerRow).where(TriggerRow.cause == Cause.ALERT.value))
        return [(begun[str(row.run_key)] - row.created).total_seconds() for row in drift]


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp())
    yield f"sqlite:///{folder}/ledger.db"
    shutil.rmtree(folder)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    server = create_engine(POSTGRES, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    schema = f"evertune_bench_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        server.dispose()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--on", choices=("SQLite", "PostgreSQL"), help="one of the databases; both without it")
    parser.add_argument("--kills", type=float, default=0.4, help="chance of a kill a round, and of each further one")
    options = parser.parse_args()
    print(describe("sqlalchemy", "psycopg2-binary"))
    bad = 0
    for name, place in (("SQLite", sqlite), ("PostgreSQL", postgresql)):
        if options.on not in (None, name):
            continue
        try:
            with place() as url:
                engines.ready(url).dispose()
                found = play(url, options.rounds, options.kills)
        except OperationalError as fault:
            print(f"{name}: not there ({fault.orig})")
            continue
        bad += sum(int(str(found[what])) for what in ("lost", "doubled", "two active", "faults of the chain"))
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in found.items()), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
