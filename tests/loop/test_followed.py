"""What a project's file says of serving reaches the server: how exact, what without a log, how long traffic stays."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.serving.http import world
from tests.serving.log.made import answer, fill
from tests.support import small_project, write_project

from evertune.ledger import connections, runs, steps, triggers
from evertune.ledger import engine as engines
from evertune.loop import followed
from evertune.loop import serve as serving
from evertune.loop.followed import Ledger, LedgerReleases
from evertune.loop.lineage import lineage
from evertune.project import Project
from evertune.records import Cause, Release, Step, UnreachableError
from evertune.releases import mlflow
from evertune.releases.mlflow import artifacts
from evertune.releases.promote import promote
from evertune.serving.origin import Fetched
from evertune.settings import Settings

SLUG = "small-reviews"
SERVING = {"int8": {"allowed_loss": 0.0}, "log_unavailable": "answer", "retention_days": 400}


@pytest.fixture
def installed(warm: Settings, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """A registry that has whatever it is asked for."""
    monkeypatch.setattr(followed, "check_signature", lambda *_: None)
    monkeypatch.setattr(mlflow, "fetch", lambda *told: told[-1])
    monkeypatch.setattr(mlflow, "fetch_checks", lambda *_: None)
    monkeypatch.setattr(mlflow, "fetch_card", lambda *_: "")
    return warm


def released(where: Settings, frozen: dict[str, Any]) -> Release:
    """A release whose run has frozen this of its project."""
    ledger = engines.ready(where.database_url)
    triggers.request(ledger, SLUG, Cause.CLOCK, "one", "night")
    run = runs.claim(ledger, SLUG, "one", 60)
    assert run is not None
    steps.record(ledger, run, Step.CLAIM, frozen, 0.0)
    made = promote(ledger, run, SLUG, 1, "1" * 64, run.key, expected=0, by="gate")
    ledger.dispose()
    return made


def test_what_was_measured_is_told_without_the_path_of_a_file(warm: Settings) -> None:
    ledger = engines.ready(warm.database_url)
    triggers.request(ledger, SLUG, Cause.CLOCK, "one", "night")
    run = runs.claim(ledger, SLUG, "one", 60)
    assert run is not None
    tuned = {"evaluation": {"model_bytes": 7, "pairs": str(warm.home / "jobs" / "pairs.parquet")}}
    steps.record(ledger, run, Step.TUNE, tuned, 0.0)
    promote(ledger, run, SLUG, 1, "1" * 64, run.key, expected=0, by="gate")
    told = lineage(ledger, SLUG, 1)
    ledger.dispose()
    assert told["evaluation"] == {"model_bytes": 7}
    assert str(warm.home) not in str(told)


def fetched(where: Settings, release: Release, to: Path) -> Fetched:
    ledger = Ledger(where)
    try:
        return LedgerReleases(where, ledger, "node-1").fetch(release, to)
    finally:
        ledger.engine.dispose()


def options(found: Fetched) -> tuple[object, object, object]:
    return found.allowed_loss, found.about["log_unavailable"], found.about["retention_days"]


def test_a_release_is_served_as_the_file_says_now(installed: Settings, tmp_path: Path) -> None:
    frozen = Project.model_validate(small_project()).model_dump(mode="json")
    write_project(installed, small_project(serving=SERVING))
    assert options(fetched(installed, released(installed, {"project": frozen}), tmp_path)) == (0.0, "answer", 400)


def test_a_file_that_cannot_be_read_is_taken_as_the_run_has_frozen_it(installed: Settings, tmp_path: Path) -> None:
    frozen = Project.model_validate(small_project(serving=SERVING)).model_dump(mode="json")
    write_project(installed, small_project(servink={}))
    assert options(fetched(installed, released(installed, {"project": frozen}), tmp_path)) == (0.0, "answer", 400)


def test_where_nobody_knows_nothing_is_answered_unlogged_and_no_traffic_goes(
    installed: Settings, tmp_path: Path
) -> None:
    assert options(fetched(installed, released(installed, {}), tmp_path)) == (0.003, "refuse", None)


def test_threads_that_meet_a_silent_database_find_it_out_once(warm: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "REACH_S", 2)
    with socket.create_server(("127.0.0.1", 0)) as silent, ThreadPoolExecutor(3) as threads:
        url = f"postgresql://postgres@127.0.0.1:{silent.getsockname()[1]}/ledger"
        ledger = Ledger(warm.model_copy(update={"database_url": url}))
        asking = [threads.submit(lambda: ledger.engine) for _ in range(3)]
        faults = [one.exception() for one in asking]
        silent.settimeout(0.1)
        tries = 0
        with contextlib.suppress(TimeoutError):
            while True:
                silent.accept()[0].close()
                tries += 1
    assert [type(fault) for fault in faults] == [UnreachableError] * 3
    assert tries == 1


def test_what_mlflow_has_not_is_worth_another_try(warm: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnreachableError, match="has no version 1"):
        fetched(warm, released(warm, {}), tmp_path)


def test_files_that_somebody_has_moved_away_are_too(installed: Settings, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mlflow, "fetch", lambda *_: artifacts.download(installed, gone.as_uri(), tmp_path))
        with pytest.raises(UnreachableError, match="gone"):
            fetched(installed, released(installed, {}), tmp_path)


@pytest.mark.parametrize(("days", "kept"), [(7, False), (400, True), (None, True)])
def test_the_server_keeps_traffic_as_long_as_the_release_that_answers_says(
    warm: Settings, tmp_path: Path, days: int | None, kept: bool
) -> None:
    """Of a project that has no release here nothing goes."""
    before = datetime.now(UTC) - timedelta(days=100)
    old, other = fill(warm.home, [answer(1, SLUG), answer(2, "another")], clock=before.timestamp)
    with serving.service(warm, serving.Options()) as service:
        service.live.switch(world.served(SLUG, 1, tmp_path, retention_days=days))
        service.log._prune()
        assert (service.log.find(old) is not None, service.log.find(other) is not None) == (kept, True)
        asyncio.run(service.close())


def test_a_server_whose_clock_has_jumped_ahead_removes_nothing_that_the_database_calls_new(
    warm: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (new,) = fill(warm.home, [answer(1, SLUG)])
    with serving.service(warm, serving.Options()) as service:
        service.live.switch(world.served(SLUG, 1, tmp_path, retention_days=7))
        monkeypatch.setattr(service.log, "_clock", (datetime.now(UTC) + timedelta(days=366)).timestamp)
        service.log._prune()
        assert service.log.find(new) is not None
        asyncio.run(service.close())
