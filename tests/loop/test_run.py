"""A pass that cannot go on gives its run back at once, so that the next one need not wait for a lease."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
from tests.support import small_project, write_project

from evertune.data import versions
from evertune.ledger import engine, runs, steps, triggers
from evertune.ledger.past import FinishedRun
from evertune.loop.claim import claim
from evertune.loop.run import Progress, describe, run
from evertune.project import Project
from evertune.project.load import load
from evertune.records import Cause, Decision, Outcome, Pins, RunStatus, StaleError, Step, UnreachableError, Verdict
from evertune.settings import Settings

REJECTED = Verdict(decision=Decision.REJECT, reasons=("it is no better",))


class ReachedError(Exception):
    """The pass has come to the step that the test waits for."""


def until_snapshot(progress: Progress) -> None:
    """End the pass where it begins to draw rows."""
    if progress.step is Step.SNAPSHOT:
        raise ReachedError


@pytest.fixture
def project(warm: Settings) -> Project:
    """A small project."""
    return load(write_project(warm, small_project()))


def last(where: Settings) -> runs.RunEntry:
    """The newest run."""
    return runs.history(engine.ready(where.database_url), "small-reviews", limit=1)[0]


def test_where_the_remote_was_missing_and_is_there_again_the_next_pass_goes_on(
    warm: Settings, project: Project, tmp_path: Path
) -> None:
    where = warm.model_copy(update={"remote": str(tmp_path / "disk" / "remote")})
    with pytest.raises(UnreachableError, match="Mount its disk"):
        run(project, where)
    assert last(where).status is RunStatus.FAILED
    assert "Mount its disk" in str(last(where).message)
    (tmp_path / "disk").mkdir()
    with pytest.raises(ReachedError):
        run(project, where, report=until_snapshot)
    assert last(where).status is RunStatus.FAILED


def test_an_interrupt_while_the_world_is_pinned_leaves_no_active_run(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(versions, "pin", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run(project, warm)
    assert last(warm).status is RunStatus.FAILED


def test_a_run_that_went_to_somebody_else_is_not_failed(warm: Settings, project: Project) -> None:
    def taken(progress: Progress) -> None:
        if progress.step is Step.SNAPSHOT:
            ledger = engine.ready(warm.database_url)
            mine = runs.active(ledger, project.slug)
            assert mine is not None
            runs.renew(ledger, mine, 0)
            assert runs.claim(ledger, project.slug, "somebody else", 60) is not None

    with pytest.raises(StaleError):
        run(project, warm, report=taken)
    assert (last(warm).status, last(warm).owner) == (RunStatus.ACTIVE, "somebody else")


def test_a_ledger_that_fails_as_well_does_not_hide_what_was_wrong(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_ledger(*_: object) -> None:
        raise OSError("the disk is full")

    def until_it_fails(progress: Progress) -> None:
        if progress.step is Step.SNAPSHOT:
            monkeypatch.setattr(runs, "active", no_ledger)
        until_snapshot(progress)

    with pytest.raises(ReachedError):
        run(project, warm, report=until_it_fails)


def test_the_preflight_is_told_in_words() -> None:
    found = {"needed": 1_240_000_000, "available": 12_300_000_000, "device": "cpu", "precision": "fp32"}
    told = describe({"phase": "preflight", **found, "parameters": 22_000_000, "trainable": 11_000_000, "longest": 60})
    assert told == "preflight: needs about 1.2 GB of memory, 12.3 GB are free (cpu, fp32)"


def test_the_seconds_of_the_claim_are_those_of_pinning(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    pin = versions.pin

    def slowly(pinned: Project, where: Settings) -> Pins:
        time.sleep(0.01)
        return pin(pinned, where)

    monkeypatch.setattr(versions, "pin", slowly)
    with pytest.raises(ReachedError):
        run(project, warm, report=until_snapshot)
    ledger = engine.ready(warm.database_url)
    (claimed,) = steps.all(ledger, last(warm).key)
    assert (claimed.step, claimed.seconds >= 0.01) == (Step.CLAIM, True)


@pytest.mark.parametrize("grown", [False, True])
def test_what_a_dead_owner_left_is_finished_before_what_is_asked(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch, grown: bool
) -> None:
    ledger, done = engine.ready(warm.database_url), list[str]()
    left = claim(project, warm, owner="dead")
    assert left is not None
    runs.renew(ledger, left, 0)

    def judged(run_key: str, owner: str, *_: object) -> Outcome:
        done.append(run_key)
        told = Outcome(run_key=run_key, project=project.slug, method="full", verdict=REJECTED)
        runs.finish(ledger, runs.held(ledger, run_key, owner), told)
        if grown:  # as if there were more data by now
            monkeypatch.setattr(versions, "pin", lambda *_: Pins(sources={"more": "rows"}, base="base", recipes={}))
            monkeypatch.setattr(versions, "plan_hash", lambda *_: "another plan")
            monkeypatch.setattr(versions, "open_workspace", lambda *_: None)
        return told

    monkeypatch.setattr(sys.modules[run.__module__], "_steps", judged)
    outcome = run(project, warm, force=True)
    assert done[0] == left.key
    assert (len(done), outcome.run_key) == (2 if grown else 1, done[-1]), (
        "it is not trained twice, unless there is more"
    )
    assert triggers.pending(ledger, project.slug) == []


def test_what_an_unplanned_run_was_asked_for_is_answered_too(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = engine.ready(warm.database_url)
    assert triggers.request(ledger, project.slug, Cause.PERSON, "asked", "before the crash")
    left = runs.claim(ledger, project.slug, "dead", 0)
    assert left is not None
    plan_is_known = FinishedRun(
        key="earlier", champion=0, generation=None, decision=Decision.REJECT,
        outcome=Outcome(run_key="earlier", project=project.slug, method="full", verdict=REJECTED),
    )  # fmt: skip
    monkeypatch.setattr(runs, "same_plan", lambda *_: [plan_is_known])
    outcome = run(project, warm)
    assert outcome.run_key == left.key
    assert [one.decision for one in runs.history(ledger, project.slug)] == [Decision.UNCHANGED] * 2
    assert triggers.pending(ledger, project.slug) == []
