"""Checks that need more than one block of a project file."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from evertune.project import conditions
from evertune.project.expectations import (
    IN_SQL,
    OF_THE_SCHEMA,
    ROW_NUMBER,
    UNEXPECTED_ROWS,
    arguments_of,
    in_snake_case,
)

OWN_COLUMNS = ("row_id", "text", "label", "id", "group", "subject", "time", "source", "target")
"""Columns of a snapshot that an expectation can name."""


class Crossed(NamedTuple):
    """An option that does not fit another one."""

    place: tuple[str | int, ...]
    given: Any
    message: str
    known: tuple[str, ...]


def across(document: Mapping[str, Any]) -> Iterator[Crossed]:
    """Options that name columns which no other option makes, arguments which the expectation does not take, two hashes.

    ``document`` may be as raw as it was read: what is not as it should be there is passed over in silence, because
    other checks tell it. So these faults are told together with those of single options.
    """
    data = document.get("data")
    if not isinstance(data, Mapping):
        return
    yield from _hashes(data)
    kept = tuple(_kept(data))
    for index, name in enumerate(_list(document, "evaluation", "slices")):
        if isinstance(name, str) and name not in (*kept, "length", "class"):
            message = f"expected a column that data.columns.keep or a source's constants name; found {name!r}"
            yield Crossed(("evaluation", "slices", index), name, message, kept)
    columns = (*OWN_COLUMNS, *kept)
    for index, expectation, arguments in expectations(document):
        yield from _arguments(index, expectation, arguments)
        for place, name in _columns(arguments) if expectation not in OF_THE_SCHEMA else ():
            if name not in columns:
                at = ("validation", "expectations", index, "arguments", *place)
                yield Crossed(at, name, f"expected a column of the snapshot; found {name!r}", columns)
        if IN_SQL.search(expectation):
            yield from _one_in_sql(index, expectation, arguments, columns)


def _hashes(data: Mapping[str, Any]) -> Iterator[Crossed]:
    """Two hashes for the bytes of one address: a run would keep one of them, and refuse the other source."""
    first: dict[str, tuple[int, str]] = {}
    for index, source in enumerate(_list(data, "sources")):
        uri, sha256 = _at(source, "uri"), _at(source, "sha256")
        if not isinstance(uri, str) or not isinstance(sha256, str):
            continue
        earlier, hash_there = first.setdefault(uri if "://" in uri else os.path.normpath(uri), (index, sha256))
        if hash_there.lower() != sha256.lower():
            message = (
                f"expected the sha256 of data.sources[{earlier}], {hash_there[:12]}…, because uri is the same; "
                f"found {sha256[:12]}…"
            )
            yield Crossed(("data", "sources", index, "sha256"), sha256, message, ())


def expectations(document: Mapping[str, Any]) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """The expectations that the document names: place in their list, name in snake case and arguments."""
    for index, expectation in enumerate(_list(document, "validation", "expectations")):
        name, arguments = _at(expectation, "name"), _at(expectation, "arguments")
        if isinstance(name, str) and isinstance(arguments, Mapping | None):
            yield index, in_snake_case(name), arguments or {}


def _arguments(index: int, expectation: str, given: Mapping[str, Any]) -> Iterator[Crossed]:
    """Names that the expectation does not take. Of their values Great Expectations is asked elsewhere: it is slow."""
    known = arguments_of(expectation)
    for name in given if known else ():
        if name not in known:
            place = ("validation", "expectations", index, "arguments", str(name))
            message = f"expected an argument of {expectation}; {str(name)!r} is none"
            yield Crossed(place, name, message, known)


def _one_in_sql(
    index: int, expectation: str, arguments: Mapping[str, Any], columns: tuple[str, ...]
) -> Iterator[Crossed]:
    """Columns of the table in SQLite that are one to it, because it knows no capitals."""
    named = columns if expectation == UNEXPECTED_ROWS else tuple(name for _, name in _columns(arguments))
    met = {ROW_NUMBER: ROW_NUMBER}
    for name in dict.fromkeys(named):
        if (other := met.setdefault(name.lower(), name)) != name or name == ROW_NUMBER:
            of = f"{other}, which holds the rows' numbers there" if other == ROW_NUMBER else other
            message = f"expected another name for the column {name}: this is asked in SQL, where it is the same as {of}"
            yield Crossed(("validation", "expectations", index, "name"), expectation, message, ())


def _columns(arguments: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """The columns that arguments name, with their places."""
    for key in ("column", "column_A", "column_B"):
        if isinstance(name := arguments.get(key), str):
            yield (key,), name
    for index, name in enumerate(_list(arguments, "column_list")):
        if isinstance(name, str):
            yield ("column_list", index), name
    condition = arguments.get("row_condition")
    if isinstance(condition, str) and arguments.get("condition_parser") in (None, "pandas"):
        # Of one that is none Great Expectations' arguments tell.
        with contextlib.suppress(ValueError, SyntaxError):
            yield from ((("row_condition",), name) for name in conditions.read(condition).columns)


def _kept(data: Mapping[str, Any]) -> Iterator[str]:
    yield from (name for name in _list(data, "columns", "keep") if isinstance(name, str))
    for source in _list(data, "sources"):
        constants = _at(source, "constants")
        yield from constants if isinstance(constants, Mapping) else ()


def _at(value: Any, *steps: str) -> Any:
    for step in steps:
        value = value.get(step) if isinstance(value, Mapping) else None
    return value


def _list(value: Any, *steps: str) -> list[Any]:
    found = _at(value, *steps)
    return found if isinstance(found, list) else []
