from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from evertune.project.expectations import INTERNAL, arguments_of, core_expectations


def test_the_names_are_those_of_the_installed_package() -> None:
    names = core_expectations()
    assert "expect_column_values_to_not_be_null" in names
    assert len(names) > 40


def test_their_arguments_are_read_from_the_source() -> None:
    assert "min_value" in arguments_of("expect_column_value_lengths_to_be_between")
    assert {"column_list", "mostly", "row_condition"} <= set(arguments_of("expect_compound_columns_to_be_unique"))
    assert not INTERNAL & set(arguments_of("expect_column_to_exist"))
    assert arguments_of("expect_nothing_of_the_kind") == ()


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
