"""What each step depends on: what changes a plan, and what must not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evertune.data.plans import DATA_STEPS, RECIPES, plan, plan_hash
from evertune.project import Project
from evertune.records import Pins, Step
from evertune.settings import Settings


def pinned(project: Project) -> Pins:
    return Pins(sources={source.uri: "a" * 64 for source in project.data.sources}, base="b" * 64, recipes=dict(RECIPES))


def changed(project: Project, path: str, value: object) -> Project:
    """The project with one option set, named by its path with dots."""
    document = project.model_dump(mode="json")
    *parents, last = path.split(".")
    block: Any = document
    for name in parents:
        block = block[int(name) if name.isdigit() else name]
    block[last] = value
    return Project.model_validate(document)


def steps_that_differ(one: Project, other: Project, where: Settings) -> set[str]:
    return {
        step.value
        for step in DATA_STEPS
        if plan(step, one, pinned(one), where) != plan(step, other, pinned(other), where)
    }


@pytest.mark.parametrize(
    ("path", "value", "steps"),
    [
        ("gate.smallest_gain", 0.02, set()),
        ("tuning.learning_rate", 3e-4, set()),
        ("evaluation.slices", ["shop"], set()),
        ("schedule.cron", "0 5 * * *", set()),
        ("owner", "somebody else", set()),
        ("serving.log_unavailable", "answer", set()),
        ("data.sources.0.quoting", "none", {"snapshot"}),
        ("data.redaction.patterns", ["email"], {"snapshot"}),
        ("data.columns.keep", [], {"snapshot", "validate"}),
        ("validation.max_bad_share", 0.01, {"validate"}),
        ("data.label.classes", ["good", "bad"], {"validate", "prepare"}),
        ("preparation.max_tokens", 32, {"prepare"}),
        ("preparation.split.salt", "other", {"prepare"}),
    ],
)
def test_an_option_changes_the_plans_of_its_steps_only(
    path: str, value: object, steps: set[str], local_project: Project, where: Settings
) -> None:
    assert steps_that_differ(local_project, changed(local_project, path, value), where) == steps


def test_other_bytes_are_another_snapshot_and_another_base_another_dataset(
    local_project: Project, where: Settings
) -> None:
    pins = pinned(local_project)
    drawn = pins.model_copy(update={"sources": {local_project.data.sources[0].uri: "c" * 64}})
    base = pins.model_copy(update={"base": "c" * 64})
    for other, differs in ((drawn, {Step.SNAPSHOT}), (base, {Step.PREPARE})):
        for step in DATA_STEPS:
            same = plan(step, local_project, pins, where) == plan(step, local_project, other, where)
            assert same is (step not in differs)


def test_a_raised_recipe_does_its_step_again(local_project: Project, where: Settings) -> None:
    pins = pinned(local_project)
    raised = pins.model_copy(update={"recipes": {**RECIPES, "validate": RECIPES["validate"] + 1}})
    assert plan(Step.VALIDATE, local_project, pins, where) != plan(Step.VALIDATE, local_project, raised, where)
    assert plan(Step.PREPARE, local_project, pins, where) == plan(Step.PREPARE, local_project, raised, where)
    assert plan_hash(local_project, pins) != plan_hash(local_project, raised)


def test_plans_name_no_place_on_this_machine(local_project: Project, where: Settings) -> None:
    moved = changed(local_project, "data.sources.0.uri", "/another/place/renamed.csv")
    moved = changed(moved, "base.uri", "/another/base")
    assert steps_that_differ(local_project, moved, where) == set()
    assert plan_hash(local_project, pinned(local_project)) == plan_hash(moved, pinned(moved))
    place = str(Path(local_project.data.sources[0].uri).parent)
    assert all(place not in str(plan(step, local_project, pinned(local_project), where)) for step in DATA_STEPS)


def test_another_secret_of_subjects_draws_again_where_there_are_subjects(
    local_project: Project, where: Settings
) -> None:
    salted = where.model_copy(update={"subject_salt": "pepper"})
    pins = pinned(local_project)
    assert plan(Step.SNAPSHOT, local_project, pins, where) == plan(Step.SNAPSHOT, local_project, pins, salted)
    with_subject = changed(local_project, "data.columns.subject", "id")
    assert plan(Step.SNAPSHOT, with_subject, pins, where) != plan(Step.SNAPSHOT, with_subject, pins, salted)
    assert "pepper" not in str(plan(Step.SNAPSHOT, with_subject, pins, salted))


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("description", "another sentence", True),
        ("owner", "somebody else", True),
        ("schedule.cron", "", True),
        ("serving.int8.allowed_loss", 0.0, True),
        ("serving.retention_days", 7, True),
        ("gate.confidence", 0.9, False),
        ("tuning.seed", 18, False),
        ("preparation.max_tokens", 32, False),
        ("slug", "another", False),
    ],
)
def test_the_plan_hash_is_over_what_the_outcome_hangs_on(
    path: str, value: object, same: bool, local_project: Project
) -> None:
    other = changed(local_project, path, value)
    assert (plan_hash(local_project, pinned(local_project)) == plan_hash(other, pinned(other))) is same
