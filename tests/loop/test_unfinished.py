"""Whose training a run goes on with: that of a failed run of the very same plan, and of no other."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.support import small_project, write_project

from evertune.ledger import engine, runs
from evertune.loop import unfinished
from evertune.loop.claim import claim
from evertune.loop.held import Held, hold
from evertune.project import Project
from evertune.project.load import load
from evertune.project.options import Method
from evertune.settings import Settings


@pytest.fixture
def project(warm: Settings) -> Project:
    return load(write_project(warm, small_project()))


def held(project: Project, where: Settings, owner: str) -> Held:
    run = claim(project, where, owner=owner)
    assert run is not None
    return hold(run.key, owner, where)


def failed(project: Project, where: Settings) -> Path:
    """The checkpoints of a run that failed while it was tuned."""
    left = held(project, where, "before")
    checkpoints = where.jobs / left.run.key / "checkpoints"
    (checkpoints / "000000007").mkdir(parents=True)
    runs.fail(engine.ready(where.database_url), left.run, "MLflow was away")
    return checkpoints


def test_the_same_plan_goes_on(warm: Settings, project: Project) -> None:
    before = failed(project, warm)
    now = held(project, warm, "now")
    assert unfinished.take_up(now) == before.parent.name
    assert (warm.jobs / now.run.key / "checkpoints" / "000000007").is_dir()
    assert not before.exists()


def test_another_plan_does_not(warm: Settings, project: Project) -> None:
    before = failed(project, warm)
    other = project.with_method(next(method for method in Method if method is not project.tuning.method))
    assert unfinished.take_up(held(other, warm, "now")) is None
    assert before.exists()
