"""Checks that need more than one block of a project file."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from evertune.project.expectations import arguments_of

OWN_COLUMNS = ("row_id", "text", "label", "id", "group", "subject", "time", "source", "target")
"""Columns of a snapshot that an expectation can name."""


class Crossed(NamedTuple):
    """An option that does not fit another one."""

    place: tuple[str | int, ...]
    given: Any
    message: str
    known: tuple[str, ...]


def across(document: Mapping[str, Any]) -> Iterator[Crossed]:
    """Options that name columns which no other option makes, or arguments which the expectation does not take.

    ``document`` may be as raw as it was read: what is not as it should be there is passed over in silence, because
    other checks tell it. So these faults are told together with those of single options.
    """
    data = document.get("data")
    if not isinstance(data, Mapping):
        return
    kept = tuple(_kept(data))
    for index, name in enumerate(_list(document, "evaluation", "slices")):
        if isinstance(name, str) and name not in (*kept, "length", "class"):
            message = f"expected a column that data.columns.keep or a source's constants name; found {name!r}"
            yield Crossed(("evaluation", "slices", index), name, message, kept)
    columns = (*OWN_COLUMNS, *kept)
    for index, expectation in enumerate(_list(document, "validation", "expectations")):
        yield from _arguments(index, expectation)
        name = _at(expectation, "arguments", "column")
        if isinstance(name, str) and name not in columns and expectation.get("name") != "expect_column_to_exist":
            place = ("validation", "expectations", index, "arguments", "column")
            yield Crossed(place, name, f"expected a column of the snapshot; found {name!r}", columns)


def _arguments(index: int, expectation: Any) -> Iterator[Crossed]:
    """Names that the expectation does not take; what their values may be, Great Expectations says when it is asked."""
    expectation_name, given = _at(expectation, "name"), _at(expectation, "arguments")
    known = arguments_of(expectation_name) if isinstance(expectation_name, str) else ()
    for name in given if known and isinstance(given, Mapping) else ():
        if name not in known:
            place = ("validation", "expectations", index, "arguments", str(name))
            message = f"expected an argument of {expectation_name}; {str(name)!r} is none"
            yield Crossed(place, name, message, known)


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
