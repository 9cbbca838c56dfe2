"""One retrain an alert: 32 monitors raise and rule on the same drift at once, round after round, on both databases.

Beside them 32 requests by the clock and by people come in, every one twice, and two schedulers' claimants work, with
leases most of which run out at once (so that each takes over from each) and killed with SIGKILL at random. Some of
their runs end with a promotion, so that alerts come whose release has just been replaced; the project's policy rules,
with a cooldown that some alerts have to wait for. The ledger's chain of events is in the order of its commits, so it
tells what went on. Printed a database: rounds, alerts, those outdated by a promotion, requests, runs, kills,
takeovers; what was lost or doubled, how often a retrain came before the cooldown was over, a run absorbed an alert of
another release than the one that it met, or two runs were active; seconds a round and from alert to claim.

`--rounds 1000` is the whole of it. PostgreSQL: EVERTUNE_TEST_POSTGRES, else the one on its standard port.
"""

from __future__ import annotations

import argparse
import multiprocessing
import random
import statistics
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from benchmarks._claimants import Claimants, end
from benchmarks._ledgers import postgresql, sqlite
from benchmarks._machine import describe
from benchmarks._rounds import BAD, MONITORS, judge
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

from evertune.ledger import alerts, releases, runs, segments, triggers, windows
from evertune.ledger import engine as engines
from evertune.ledger.alerts import AlertEntry, Standing
from evertune.ledger.cutting import Outline, Pending
from evertune.ledger.segments import Segment
from evertune.monitoring import policy
from evertune.project.monitoring_options import Policy, Retraining, WindowOptions
from evertune.records import (
    AlertStatus,
    Cause,
    Decision,
    EvertuneError,
    Evidence,
    Signal,
    Window,
)
from evertune.releases.promote import promote

FORK = multiprocessing.get_context("fork")
PROJECT = "spam"
PROCESSES = 8
THREADS = MONITORS // PROCESSES
ROWS = 10
NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)


POLICY = Policy(fewest_rows=1, fewest_labels=0, cooldown_hours=0.2 / 3600, retrains_per_week=1000)


def rules(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
    """The policy of a project that wants no labels."""
    facts = policy.Facts(0, 0.0, standing.retrains, standing.generation, standing.working)
    ruling = policy.decide(alert, facts, POLICY, Retraining(), standing.now)
    return ruling.retrain, ruling.why


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

    current = releases.current(engine, PROJECT)
    assert current is not None

    def read(_pending: Pending) -> Outline:
        return Outline([current.generation] * ROWS, [moment] * ROWS)

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
    alerts.rule(engine, PROJECT, rules)


def play(url: str, rounds: int, kills: float, promotions: float = 0.0) -> dict[str, object]:
    engine = engines.ready(url)
    begin(engine)
    barrier = FORK.Barrier(PROCESSES + 1)
    monitors = [FORK.Process(target=monitor, args=(one, url, rounds, barrier)) for one in range(PROCESSES)]
    claimants = Claimants(url, PROJECT, promotions)
    for one in monitors:
        one.start()
    killed, passed, took = 0, 0, []
    for turn in range(1, rounds + 1):
        about = window(engine, turn)
        started = time.perf_counter()
        barrier.wait()
        while random.random() < kills:
            killed += claimants.kill()
        barrier.wait()
        passed += not answered(engine, about, claimants)
        took.append(time.perf_counter() - started)
        if turn % 100 == 0:
            print(f"round {turn} of {rounds}, {sum(took) / 60:.0f} min", file=sys.stderr, flush=True)
    for one in monitors:
        one.join()
    claimants.end()
    end_all(engine)
    alerts.settle(engine, PROJECT)
    found = judge(engine, PROJECT, rounds, passed, timedelta(hours=POLICY.cooldown_hours))
    engine.dispose()
    return {**found, "kills": killed, "seconds a round": f"{statistics.median(took):.2f}"}


def end_all(engine: Engine) -> None:
    """End what is left, the run of a killed claimant once its lease is over."""
    while (last := runs.claim(engine, PROJECT, "the last", 600)) or runs.active(engine, PROJECT):
        if last:
            end(engine, last)
        else:
            time.sleep(0.05)


def answered(engine: Engine, about: Window, claimants: Claimants) -> bool:
    """Wait until the window's alert has had its run, or is outdated: only then can drift raise the next.

    ``False`` where it raised none, since another release answered by then. The policy is asked again as the monitor's
    next look would ask it.
    """
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        claimants.revive()
        alerts.settle(engine, PROJECT)
        newest = next(iter(alerts.history(engine, PROJECT, 1)), None)
        current = releases.current(engine, PROJECT)
        if newest is None or newest.window != about.number:
            if current is None or current.generation == about.generation:
                raise EvertuneError(f"the drift in window {about.number} has raised no alert")
            return False
        if newest.status in (AlertStatus.ANSWERED, AlertStatus.OUTDATED):
            return True
        alerts.rule(engine, PROJECT, rules)
        time.sleep(0.005)
    raise EvertuneError(f"the alert of window {about.number} had no run within a minute")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--on", choices=("SQLite", "PostgreSQL"), help="one of the databases; both without it")
    parser.add_argument("--promotions", type=float, default=0.3, help="part of the runs that end with a new release")
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
                found = play(url, options.rounds, options.kills, options.promotions)
        except OperationalError as fault:
            print(f"{name}: not there ({fault.orig})")
            continue
        bad += sum(int(str(found[what])) for what in BAD)
        print(f"{name}: " + ", ".join(f"{what} {value}" for what, value in found.items()), flush=True)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
