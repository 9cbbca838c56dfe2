"""What `evertune status` tells of the servers: which release they would not take, and what goes on answering."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from types import SimpleNamespace

import pytest
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.ledger import engine, runs, triggers
from evertune.loop.followed import Ledger, LedgerReleases
from evertune.records import Cause
from evertune.releases.mlflow import aliases
from evertune.releases.mlflow.store import RUN_KEY, Version
from evertune.serving.engine.report import EngineReport
from evertune.settings import Settings

SLUG = "small-reviews"
ENGINE = EngineReport(kind="onnx-int8", reason="as good as 32 bits", allowed_loss=0.003)


@pytest.fixture
def server(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[LedgerReleases]:
    """A server that reports to the ledger that `evertune status` reads."""
    write_project(environment, small_project())
    monkeypatch.setenv("COLUMNS", "200")
    ledger = Ledger(environment)
    yield LedgerReleases(environment, ledger, "node-1")
    ledger.engine.dispose()


def told(*options: str) -> str:
    result = CliRunner().invoke(app, ["status", SLUG, *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_a_refused_release_is_told_with_the_reason_and_what_goes_on(server: LedgerReleases) -> None:
    server.report(SLUG, 1, ENGINE, None)
    assert "refuses" not in told()
    server.report(SLUG, 2, None, "a byte of model.safetensors has changed")
    wanted = "server node-1 refuses generation 2, generation 1 goes on: a byte of model.safetensors has changed"
    assert f"{SLUG}: {wanted}" in told()
    (project,) = json.loads(told("--json"))["projects"]
    (one,) = project["servers"]
    assert (one["generation"], one["refused_generation"], one["engine"]["kind"]) == (1, 2, "onnx-int8")
    server.report(SLUG, 3, ENGINE, None)
    assert "refuses" not in told()


def test_where_nothing_answers_it_says_so(server: LedgerReleases) -> None:
    server.report(SLUG, 1, None, "MLflow is away")
    assert "server node-1 refuses generation 1, nothing answers: MLflow is away" in told()


def test_another_ledgers_alias_is_told_and_not_taken_away(
    server: LedgerReleases, monkeypatch: pytest.MonkeyPatch
) -> None:
    made_elsewhere = Version(1, "", {RUN_KEY: f"{SLUG}-20260101T000000-abcdef01"}, "")
    store = SimpleNamespace(find_alias=lambda *_: 1, version=lambda *_: made_elsewhere)
    monkeypatch.setattr(aliases, "connect", lambda *_: store)
    monkeypatch.setenv("EVERTUNE_MLFLOW_URI", "http://127.0.0.1:1")
    assert "points to version 1" in told()
    (project,) = json.loads(told("--json"))["projects"]
    assert "Check EVERTUNE_DATABASE_URL" in project["fault"]
    assert project["mended"] is None


def test_a_runs_key_is_whole_however_narrow_the_terminal_is(
    server: LedgerReleases, environment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = engine.ready(environment.database_url)
    triggers.request(ledger, SLUG, Cause.PERSON, "now", "asked for")
    run = runs.claim(ledger, SLUG, "somebody", 60)
    assert run is not None
    monkeypatch.setenv("COLUMNS", "60")
    shown = subprocess.run(
        [sys.executable, "-m", "evertune.cli.main", "status", SLUG], capture_output=True, text=True, check=True
    ).stdout
    columns = zip(*(line.split("│") for line in shown.splitlines() if line.startswith("│")), strict=True)
    assert run.key in ["".join(cell.strip() for cell in column) for column in columns]


def test_what_the_next_run_is_asked_for_is_told(server: LedgerReleases, environment: Settings) -> None:
    assert "asked for" not in told()
    ledger = engine.ready(environment.database_url)
    for key in ("one", "two"):
        triggers.request(ledger, SLUG, Cause.PERSON, key, "the [new] labels")
    assert f"{SLUG}: the next run is asked for: the [new] labels\n" in told()
    assert json.loads(told("--json"))["projects"][0]["asked"] == ["the [new] labels"]
