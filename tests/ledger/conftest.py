"""A ledger of each kind for each test. Both must do the same, so nearly every test here takes both."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
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
