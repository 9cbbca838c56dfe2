"""Names of Great Expectations' core expectations and of their arguments, told without importing it (3.7 s).

They are read from the installed package's source, so that a project file is checked against the version that will judge
its rows; a test compares them with what the package itself says.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

INTERNAL = frozenset(
    {"id", "result_format", "catch_exceptions", "rendered_content", "windows", "batch_id", "library_metadata"}
)
"""Arguments that expectations have and that are evertune's, or Great Expectations' own, to set."""
OF_THE_SCHEMA = frozenset(
    {
        "expect_column_to_exist",
        "expect_table_column_count_to_be_between",
        "expect_table_column_count_to_equal",
        "expect_table_columns_to_match_ordered_list",
        "expect_table_columns_to_match_set",
    }
)
"""Those that ask which columns there are, and so may name some that there are not."""
UNEXPECTED_ROWS = "unexpected_rows_expectation"
"""The one whose name does not begin like those of the others."""
OF_TWO_TABLES = frozenset({"expect_query_results_to_match_comparison", "expect_table_row_count_to_equal_other_table"})
"""Those that cannot be asked: they hold the batch against another table, and a run has none."""
IN_SQL = re.compile(rf"like_pattern|^{UNEXPECTED_ROWS}$")
"""Those that are judged in SQLite."""
ROW_NUMBER = "evertune_row"
"""Column of the row numbers there."""
NAME = r"^(expect_[a-z0-9_]+|unexpected_rows_expectation|[A-Z][A-Za-z]+)$"
"""Form of a name, in snake case or as Great Expectations names its classes."""


class _Class(NamedTuple):
    """A class as its source shows it."""

    bases: tuple[str, ...]
    fields: tuple[str, ...]


@functools.cache
def core_expectations() -> tuple[str, ...]:
    """Their names in snake case, as the installed package lists them, without :data:`OF_TWO_TABLES`.

    None where none are listed.
    """
    folder = _folder()
    if folder is None:
        return ()
    listed = folder / "core" / "__init__.py"
    try:
        names = re.findall(rf"^from \.(expect_\w+|{UNEXPECTED_ROWS}) import", listed.read_text("utf-8"), re.MULTILINE)
    except OSError:
        return ()
    return tuple(sorted(set(names) - OF_TWO_TABLES))


def in_snake_case(name: str) -> str:
    """``ExpectColumnValuesToBeUnique`` as ``expect_column_values_to_be_unique``; any other name as it is."""
    if not name[:1].isupper() or "_" in name:
        return name
    by_letters = {known.replace("_", ""): known for known in (*core_expectations(), *OF_TWO_TABLES)}
    return by_letters.get(name.lower(), name)


@functools.cache
def arguments_of(name: str) -> tuple[str, ...]:
    """What the core expectation takes; nothing where there is no such one, or its source cannot be read."""
    folder = _folder()
    if folder is None or name not in core_expectations():
        return ()
    known = _classes(folder / "expectation.py") | (own := _classes(folder / "core" / f"{name}.py"))
    expectation = next((one for one in own if one.startswith(("Expect", "UnexpectedRows"))), "")
    return tuple(sorted(set(_fields(expectation, known)) - INTERNAL))


def _folder() -> Path | None:
    package = importlib.util.find_spec("great_expectations")
    return Path(package.origin).parent / "expectations" if package is not None and package.origin else None


@functools.cache
def _classes(path: Path) -> dict[str, _Class]:
    try:
        module = ast.parse(path.read_text("utf-8"))
    except (OSError, SyntaxError):
        return {}
    return {
        node.name: _Class(tuple(base.id for base in node.bases if isinstance(base, ast.Name)), tuple(_annotated(node)))
        for node in module.body
        if isinstance(node, ast.ClassDef)
    }


def _annotated(node: ast.ClassDef) -> Iterator[str]:
    for line in node.body:
        if isinstance(line, ast.AnnAssign) and isinstance(line.target, ast.Name):
            name = line.target.id
            if not name.startswith("_") and "ClassVar" not in ast.unparse(line.annotation):
                yield name


def _fields(name: str, known: dict[str, _Class]) -> Iterator[str]:
    if name in known:
        yield from known[name].fields
        for base in known[name].bases:
            yield from _fields(base, known)
