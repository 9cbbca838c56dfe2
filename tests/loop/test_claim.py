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


@pytest.fixture
def where(warm: Settings) -> Settings:
    return warm.model_copy(update={"lease_s": 1})


def claimed(project: Project, where: Settings, owner: str) -> Run:
    run = claim(project, where, owner=owner, reason=f"{owner} wants it")
    assert run is not None
    return run


def left_by_a_dead_owner(project: Project, where: Settings) -> Run:
    """A run that was planned, and whose lease has run out."""
    run = claimed(project, where, "dead")
    return runs.renew(engine.ready(where.database_url), run, 0)


def other(project: Project) -> Project:
    return project.with_method(next(method for method in Method if method is not project.tuning.method))


def test_it_is_gone_on_with_and_what_is_asked_now_waits(where: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, where)
    run = claimed(project, where, "living")
    assert (run.key, run.owner, run.token) == (left.key, "living", 2)
    (waits,) = triggers.pending(engine.ready(where.database_url), SLUG)
    assert waits.reason == "living wants it"


def test_it_is_ended_where_another_model_is_asked_for(where: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, where)
    run = claimed(other(project), where, "living")
    ledger = engine.ready(where.database_url)
    assert (run.key != left.key, run.owner, run.token) == (True, "living", 1)
    assert run.reasons == ("dead wants it", "living wants it"), "nothing that was asked for is lost"
    assert triggers.pending(ledger, SLUG) == []
    ended = runs.get(ledger, left.key)
    assert ended is not None
    assert ended.status is RunStatus.FAILED
    assert "another model" in str(ended.message)
    assert (where.jobs / left.key / "cancel").exists(), "its trainer may live"
    planned = steps.result(ledger, run.key, Step.CLAIM)
    assert planned is not None
    assert planned["project"]["tuning"]["method"] == other(project).tuning.method


def test_it_is_ended_where_its_file_is_of_another_version(
    where: Settings, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    left = left_by_a_dead_owner(project, where)

    def refuses(_: object) -> Project:
        raise ValueError("a field that is known no more")

    monkeypatch.setattr(Project, "model_validate", refuses)
    assert claimed(project, where, "living").key != left.key


def test_what_changes_no_model_does_not_end_it(where: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, where)
    told = project.model_copy(update={"description": "in other words", "owner": "others"})
    assert claimed(told, where, "living").key == left.key


def test_once_judged_it_is_finished_whatever_is_asked_now(where: Settings, project: Project) -> None:
    left = left_by_a_dead_owner(project, where)
    steps.record(engine.ready(where.database_url), left, Step.JUDGE, {"decision": "promote"}, 1.0)
    runs.renew(engine.ready(where.database_url), left, 0)
    assert claimed(other(project), where, "living").key == left.key


def test_ones_own_goes_on_as_it_was_claimed(where: Settings, project: Project) -> None:
    run = claimed(project, where, "me")
    assert claimed(other(project), where, "me").key == run.key
    assert claim(other(project), where, owner="somebody else", cause=Cause.PERSON) is None
