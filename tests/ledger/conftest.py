"""A ledger of each kind for each test. Both must do the same, so nearly every test here takes both."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from sqlalchemy import Engine, event
from tests.ledgers import empty, ledger, no_fsync, template, url

from evertune.ledger import runs, triggers
from evertune.records import Cause, Decision, Outcome, Run, Verdict

__all__ = ["empty", "ledger", "no_fsync", "template", "url"]


@pytest.fixture
def start(ledger: Engine) -> Callable[..., Run]:
    """Ask for a run and claim it."""

    def start(key: str = "k", project: str = "spam", owner: str = "one", lease_s: int = 60) -> Run:
        assert triggers.request(ledger, project, Cause.CLOCK, key, f"because of {key}")
        run = runs.claim(ledger, project, owner, lease_s)
        assert run is not None
        return run

    return start


@pytest.fixture
def verdict() -> Callable[..., Outcome]:
    """The outcome of a run with this decision."""

    def verdict(run: Run, decision: Decision = Decision.REJECT) -> Outcome:
        reasons = ("the gain is 0.1 points, 1 is asked for",)
        given = Verdict(decision=decision, reasons=reasons, gain=0.001, opponent="champion", alpha=0.05)
        return Outcome(run_key=run.key, project=run.project, method="full", verdict=given)

    return verdict


@pytest.fixture
def jump(ledger: Engine) -> Callable[[int], None]:
    """Set SQLite's clock forward or back: its own function for the time is replaced in each connection."""
    if ledger.dialect.name != "sqlite":
        pytest.skip("PostgreSQL's clock is its server's, which a test cannot set")
    offset = 0

    def strftime(form: str, moment: str) -> str:
        assert (form, moment) == ("%Y-%m-%d %H:%M:%f", "now")
        now = time.time() + offset
        return time.strftime("%Y-%m-%d %H:%M:", time.gmtime(now)) + f"{now % 60:06.3f}"

    @event.listens_for(ledger, "checkout")
    def replace(connection: object, _entry: object, _proxy: object) -> None:
        connection.create_function("strftime", 2, strftime)  # type: ignore[attr-defined] # sqlite3's connection

    def set_offset(seconds: int) -> None:
        nonlocal offset
        offset = seconds

    return set_offset
