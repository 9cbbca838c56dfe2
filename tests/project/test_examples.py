"""The project files that are shipped: what a user copies from must be right."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

from evertune.project.load import load

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "projects").glob("*.yaml"))


def test_both_examples_are_there() -> None:
    assert {file.stem for file in FILES} >= {"review-sentiment", "question-routing"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_is_valid_named_by_its_slug_and_points_at_the_schema(file: Path) -> None:
    project = load(file)
    assert project.slug == file.stem
    first = file.read_text().splitlines()[0]
    match = re.fullmatch(r"# yaml-language-server: \$schema=(.+)", first)
    assert match is not None
    assert (file.parent / match[1]).is_file()


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_an_example_means_the_same_to_readers_of_yaml_1_1(file: Path) -> None:
    loose = yaml.safe_load(file.read_text())
    strict = load(file).model_dump(mode="json")
    for block in ("tuning", "gate", "evaluation", "preparation"):
        for name, value in loose.get(block, {}).items():
            assert _within(value, strict[block][name]), f"{block}.{name}"


def _within(value: object, whole: object) -> bool:
    if isinstance(value, dict) and isinstance(whole, dict):
        return all(_within(inner, whole[name]) for name, inner in value.items())
    return value == whole


def test_the_shipped_examples_neighbour_classes_leave_no_number_between_them() -> None:
    routing = load(ROOT / "projects" / "question-routing.yaml")
    cuts = routing.data.label.cuts or ()
    assert [(cut.at_least, cut.below) for cut in cuts] == [(n, n + 1) for n in range(6)]
