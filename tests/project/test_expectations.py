from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest

from evertune.project.expectations import core_expectations


def test_the_names_are_those_of_the_installed_package() -> None:
    names = core_expectations()
    assert "expect_column_values_to_not_be_null" in names
    assert len(names) > 40


@pytest.mark.parametrize("origin", [None, "/nowhere/great_expectations/__init__.py"])
def test_without_the_package_no_name_is_known(monkeypatch: pytest.MonkeyPatch, origin: str | None) -> None:
    class Spec:
        pass

    spec: Any = Spec()
    spec.origin = origin
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    core_expectations.cache_clear()
    assert core_expectations() == ()
    core_expectations.cache_clear()
    assert Path(__file__).is_file()
