"""Several processes at once. The chain of events is in the order of the commits, so it tells what went on."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path
from threading import Barrier

import pytest
from sqlalchemy import Engine, select

from evertune.ledger import engine as engines
from evertune.ledger import events, releases, runs, steps, triggers
from evertune.ledger.tables import TriggerRow
from evertune.records import Cause, Decision, Outcome, Run, RunStatus, StaleError, Step, Verdict
from evertune.releases.promote import promote

FORK = multiprocessing.get_context("fork")
CROWD = 4


def together(target: Callable[..., None], *arguments: object) -> None:
    """Run ``target(number, barrier, *arguments)`` in some processes at once, to their good end."""
    barrier = FORK.Barrier(CROWD)
    crowd: list[BaseProcess] = [
        FORK.Process(target=target, args=(number, barrier, *arguments)) for number in range(CROWD)
    ]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(280)
    assert [one.exitcode for one in crowd] == [0] * CROWD


def one_pass(engine: Engine, owner: str, lease_s: int = 600) -> bool:
    """Claim and go through a run; whether there was one."""
    run = runs.claim(engine, "spam", owner, lease_s)
    if run is None:
        return False
    steps.record(engine, run, Step.TUNE, {"by": owner}, 0.1)
    verdict = Verdict(decision=Decision.REJECT, reasons=("too little gain",))
    outcome = Outcome(run_key=run.key, project="spam", method="full", verdict=verdict)
    runs.finish(engine, run, outcome, RunStatus.FINISHED)
    return True


def check(engine: Engine, wanted: set[str]) -> None:
    """Everything asked was answered by one run, and never were two active."""
    with engines.reading(engine) as session:
        asked = list(session.scalars(select(TriggerRow)))
        assert {one.key for one in asked} == wanted
        assert [one.key for one in asked if one.runs != 1 or one.answer != "verdict"] == []
    absorbed: list[str] = []
    active = None
    for one in events.undelivered(engine, limit=1_000_000):
        if one.kind == events.Kind.STARTED:
            assert active is None, "two at once"
            active = one.payload["run"]
            absorbed += one.payload["triggers"]
        else:
            assert one.payload["run"] == active
            active = None if one.kind == events.Kind.VERDICT else active
    assert active is None
    assert sorted(absorbed) == sorted(wanted)
    assert events.verify(engine) == []


def _ask_and_claim(number: int, barrier: Barrier, url: str, rounds: int, each: int) -> None:
    engine = engines.ready(url)
    for turn in range(rounds):
        barrier.wait()
        for one in range(each):
            key = f"{turn}/{one + each * (number // 2)}"  # two ask each
            triggers.request(engine, "spam", Cause.ALERT, key, "drift")
        one_pass(engine, f"{number} in {turn}")
    engine.dispose()


def ask_and_claim(ledger: Engine, url: str, rounds: int) -> None:
    """32 requests a round, half of them doubles, by processes that all claim."""
    together(_ask_and_claim, url, rounds, 8)
    while one_pass(ledger, "the last"):
        pass
    check(ledger, {f"{turn}/{one}" for turn in range(rounds) for one in range(16)})


def test_nothing_asked_is_lost_or_doubled(ledger: Engine, url: str) -> None:
    ask_and_claim(ledger, url, 10)


@pytest.mark.faults
def test_nothing_asked_is_lost_or_doubled_for_long(ledger: Engine, url: str) -> None:
    ask_and_claim(ledger, url, int(os.environ.get("EVERTUNE_TEST_ROUNDS", "50")))


def _go_on(url: str) -> None:
    engine = engines.ready(url)
    while True:
        one_pass(engine, f"process {os.getpid()}", lease_s=0)


@pytest.mark.faults
def test_claimants_killed_at_random_lose_and_double_nothing(ledger: Engine, url: str) -> None:
    """With leases that run out at once, each takes over from each: all depends on the token."""
    wanted = {f"alert {number}" for number in range(60)}
    crowd = [FORK.Process(target=_go_on, args=(url,)) for _ in range(CROWD)]
    for one in crowd:
        one.start()
    for key in sorted(wanted):
        triggers.request(ledger, "spam", Cause.ALERT, key, "drift")
        victim = random.randrange(CROWD)
        pid = crowd[victim].pid
        assert pid is not None
        if crowd[victim].is_alive():  # a zombie that was refused has ended by itself
            os.kill(pid, signal.SIGKILL)
        crowd[victim].join()
        crowd[victim] = FORK.Process(target=_go_on, args=(url,))
        crowd[victim].start()
        time.sleep(random.uniform(0, 0.05))
    for one in crowd:
        one.kill()
        one.join()
    while one_pass(ledger, "the last"):
        pass
    check(ledger, wanted)


def _promote(number: int, barrier: Barrier, url: str, key: str, times: int, notes: Path) -> None:  # noqa: PLR0917 - what a process needs
    engine = engines.ready(url)
    won = []
    barrier.wait()
    for turn in range(times):
        version = number * times + turn + 1
        now = releases.current(engine, "spam")
        expected = now.generation if now else 0
        try:
            made = promote(engine, None, "spam", version, f"digest {version}", key, expected, f"person {number}")
        except StaleError:
            continue
        assert (made.generation, made.model_version) == (expected + 1, version)
        won.append([made.generation, version])
    (notes / f"{number}.json").write_text(json.dumps(won))
    engine.dispose()


def race_promotions(ledger: Engine, url: str, key: str, times: int, notes: Path) -> None:
    """Processes that all promote over what they have just seen; no success may be lost, none written over."""
    together(_promote, url, key, times, notes)
    won = sorted(tuple(one) for file in notes.glob("*.json") for one in json.loads(file.read_text()))
    made = sorted((one.generation, one.model_version) for one in releases.history(ledger, "spam"))
    assert won == made
    assert [generation for generation, _ in made] == list(range(1, len(made) + 1))
    assert len(made) >= times
    told = [one for one in events.undelivered(ledger, 1_000_000) if one.kind == events.Kind.RELEASE]
    assert [one.payload["generation"] for one in told] == list(range(1, len(made) + 1))
    assert events.verify(ledger) == []


def test_promotions_at_once(ledger: Engine, url: str, start: Callable[..., Run], tmp_path: Path) -> None:
    race_promotions(ledger, url, start().key, 30, tmp_path)


@pytest.mark.faults
def test_promotions_at_once_for_long(ledger: Engine, url: str, start: Callable[..., Run], tmp_path: Path) -> None:
    races = int(os.environ.get("EVERTUNE_TEST_RACES", "2000"))
    race_promotions(ledger, url, start().key, races // CROWD, tmp_path)


@pytest.mark.faults
def test_a_worker_stopped_and_woken_up_is_refused(ledger: Engine, url: str, start: Callable[..., Run]) -> None:
    """SIGSTOP is the longest pause there is: the worker cannot know that its time went by."""
    run = start(lease_s=0)
    barrier = FORK.Barrier(2)
    answer: multiprocessing.queues.SimpleQueue[str] = FORK.SimpleQueue()

    def work() -> None:
        mine = engines.ready(url)
        barrier.wait()
        try:
            while True:
                runs.renew(mine, run, 0)
        except StaleError as fault:
            answer.put(str(fault))

    worker = FORK.Process(target=work)
    worker.start()
    barrier.wait()
    assert worker.pid is not None
    for attempt in range(20):  # it may be stopped while it holds SQLite's lock; then it is let go on for a moment
        os.kill(worker.pid, signal.SIGSTOP)
        if not _locked(ledger):
            break
        os.kill(worker.pid, signal.SIGCONT)
        time.sleep(0.001 * attempt)
    taken = runs.claim(ledger, "spam", "two", 600)
    os.kill(worker.pid, signal.SIGCONT)
    worker.join(280)
    assert taken is not None
    assert taken.token == 2
    assert "now belongs to two" in answer.get()


def _locked(ledger: Engine) -> bool:
    if ledger.dialect.name != "sqlite":
        with ledger.connect() as connection:
            query = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND granted"
            return bool(connection.exec_driver_sql(query).scalar())
    from sqlalchemy.exc import OperationalError

    with ledger.execution_options(writes=False).connect() as connection:
        connection.exec_driver_sql("COMMIT")
        connection.exec_driver_sql("PRAGMA busy_timeout = 50")
        try:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
        except OperationalError:
            connection.exec_driver_sql("PRAGMA busy_timeout = 30000")
            connection.exec_driver_sql("BEGIN")
            return True
        connection.exec_driver_sql("PRAGMA busy_timeout = 30000")
        return False
