"""Whose run a claim gives: a new one, one's own, or one that a dead owner left."""

from __future__ import annotations

import pytest
from tests.support import small_project, write_project

from evertune.ledger import engine, runs, steps, triggers
from evertune.loop.claim import claim
from evertune.project import Project
from evertune.project.load import load
from evertune.project.options import Method
from evertune.records import Cause, Run, RunStatus, Step
from evertune.settings import Settings

SLUG = "small-reviews"


@pytest.fixture
def project(warm: Settings) -> Project:
    return load(write_project(warm, small_project()))


def claimed(project: Project, warm: Settings, owner: str) -> Run:
    run = claim(project, warm, owner=owner, reason=f"{owner} wants it")
    assert run is not None
    return run


def left_by_a_dead_owner(project: Project, warm: Settings) -> Run:
    """A run that was planned, and whose lease has run out."""
    run = claimed(project, warm, "dead")
    return runs.renew(engine.ready(warm.database_url), run, 0)


def other(project: Project) -> Project:
    return project.with_method(next(method for method in Method if method is not project.tuning.method))


def test_it_is_gone_on_with_and_what_is_asked_now_waits(warm: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, warm)
    run = claimed(project, warm, "living")
    assert (run.key, run.owner, run.token) == (left.key, "living", 2)
    (waits,) = triggers.pending(engine.ready(warm.database_url), SLUG)
    assert waits.reason == "living wants it"


def test_it_is_ended_where_another_model_is_asked_for(warm: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, warm)
    run = claimed(other(project), warm, "living")
    ledger = engine.ready(warm.database_url)
    assert (run.key != left.key, run.owner, run.token) == (True, "living", 1)
    assert run.reasons == ("dead wants it", "living wants it"), "nothing that was asked for is lost"
    assert triggers.pending(ledger, SLUG) == []
    ended = runs.get(ledger, left.key)
    assert ended is not None
    assert ended.status is RunStatus.FAILED
    assert "another model" in str(ended.message)
    assert (warm.jobs / left.key / "cancel").exists(), "its trainer may live"
    planned = steps.result(ledger, run.key, Step.CLAIM)
    assert planned is not None
    assert planned["project"]["tuning"]["method"] == other(project).tuning.method


def test_it_is_ended_where_its_file_is_of_another_version(
    warm: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_by_a_dead_owner(project, warm)

    def refuses(_: object) -> Project:
        raise ValueError("a field that is known no more")

    monkeypatch.setattr(Project, "model_validate", refuses)
    assert claimed(project, warm, "living").key != left.key


def test_what_changes_no_model_does_not_end_it(warm: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, warm)
    told = project.model_copy(update={"description": "in other words", "owner": "others"})
    assert claimed(told, warm, "living").key == left.key


def test_once_judged_it_is_finished_whatever_is_asked_now(warm: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, warm)
    steps.record(engine.ready(warm.database_url), left, Step.JUDGE, {"decision": "promote"}, 1.0)
    runs.renew(engine.ready(warm.database_url), left, 0)
    assert claimed(other(project), warm, "living").key == left.key


def test_ones_own_goes_on_as_it_was_claimed(warm: Settings, project: Project) -> None:
    run = claimed(project, warm, "me")
    assert claimed(other(project), warm, "me").key == run.key
    assert claim(other(project), warm, owner="somebody else", cause=Cause.PERSON) is None
