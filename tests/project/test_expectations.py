from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from evertune.project.expectations import (
    INTERNAL,
    OF_TWO_TABLES,
    UNEXPECTED_ROWS,
    arguments_of,
    core_expectations,
    in_snake_case,
)


def test_the_names_are_those_of_the_installed_package() -> None:
    names = core_expectations()
    assert "expect_column_values_to_not_be_null" in names
    assert len(names) > 40
    assert UNEXPECTED_ROWS in names
    assert not OF_TWO_TABLES & set(names)


def test_their_arguments_are_read_from_the_source() -> None:
    assert "min_value" in arguments_of("expect_column_value_lengths_to_be_between")
    assert {"column_list", "mostly", "row_condition"} <= set(arguments_of("expect_compound_columns_to_be_unique"))
    assert not INTERNAL & set(arguments_of("expect_column_to_exist"))
    assert arguments_of("expect_nothing_of_the_kind") == ()


def test_the_name_of_a_class_is_that_of_its_expectation() -> None:
    assert in_snake_case("ExpectColumnValuesToBeUnique") == "expect_column_values_to_be_unique"
    assert in_snake_case("ExpectNothingOfTheKind") == "ExpectNothingOfTheKind"
    assert in_snake_case("expect_column_values_to_be_unique") == "expect_column_values_to_be_unique"
    assert in_snake_case("Expect_Column_Values_To_Be_Unique") == "Expect_Column_Values_To_Be_Unique"
    assert in_snake_case("") == ""


@pytest.mark.integration
def test_every_class_can_be_named_so() -> None:
    from evertune.data.validation.values import classes

    assert {in_snake_case(cls.__name__) for cls in classes().values()} == set(core_expectations())


@pytest.mark.integration
def test_their_arguments_are_those_that_the_package_itself_takes() -> None:
    from evertune.data.validation.values import classes

    known = classes()
    for name in core_expectations():
        assert set(arguments_of(name)) == set(known[name].__fields__) - INTERNAL, name


@pytest.mark.parametrize("origin", [None, "/nowhere/great_expectations/__init__.py"])
def test_without_the_package_no_name_is_known(monkeypatch: pytest.MonkeyPatch, origin: str | None) -> None:
    class Spec:
        pass

    spec: Any = Spec()
    spec.origin = origin
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    core_expectations.cache_clear()
    arguments_of.cache_clear()
    assert core_expectations() == ()
    assert arguments_of("expect_column_to_exist") == ()
    core_expectations.cache_clear()
    arguments_of.cache_clear()
    assert Path(__file__).is_file()
