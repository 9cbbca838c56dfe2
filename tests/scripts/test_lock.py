"""requirements.txt names what the code imports, each with a bound and a reason; the locks pin what fits."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from tests.support import ROOT

LISTS = ("requirements.txt", "requirements-dev.txt", "requirements-s3.txt", "requirements-gs.txt")
LOCKS = ("requirements.lock", "requirements-torch-cuda.lock")
OURS = {"evertune", "evertune_dags", "scripts", *(path.stem for path in (ROOT / "dags").glob("*.py"))}
PYDANTICS = {"pydantic_core", "typing_extensions"}
"""Parts that pydantic pins itself: a bound of ours could only contradict it."""


def _lines(name: str) -> Iterator[tuple[str, str]]:
    """Requirement and reason of each line."""
    for line in (ROOT / name).read_text().splitlines():
        wanted, _, reason = line.partition("#")
        if wanted.strip():
            yield wanted.strip(), reason.strip()


def _imported() -> Iterator[str]:
    for path in (path for folder in ("include", "dags", "scripts") for path in (ROOT / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Import):
                yield from (alias.name.partition(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                yield node.module.partition(".")[0]


def _pinned(path: Path) -> dict[str, str]:
    """Package → version, of those that have a hash."""
    found = re.findall(r"^([a-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)[^\\\n]*\\\n +--hash=sha256:", path.read_text(), re.M)
    return {canonicalize_name(name): version for name, version in found}


@pytest.mark.parametrize("name", LISTS)
def test_each_dependency_has_a_bound_and_a_reason(name: str) -> None:
    listed = list(_lines(name))
    assert listed
    assert [wanted for wanted, reason in listed if not Requirement(wanted).specifier or not reason] == []


def test_whatever_the_code_imports_is_a_dependency_of_its_own() -> None:
    listed = {canonicalize_name(Requirement(wanted).name) for wanted, _ in _lines("requirements.txt")}
    there = packages_distributions()
    others = set(_imported()) - OURS - PYDANTICS - sys.stdlib_module_names
    assert {name for name in others if not listed & {canonicalize_name(one) for one in there[name]}} == set()


@pytest.mark.parametrize("name", LISTS)
def test_the_locks_pin_what_is_asked_for_by_hash(name: str) -> None:
    pinned = {package: version for lock in LOCKS for package, version in _pinned(ROOT / lock).items()}
    for wanted, _ in _lines(name):
        one = Requirement(wanted)
        assert pinned[canonicalize_name(one.name)] in one.specifier, wanted
