"""The expectations that a project file names: any of Great Expectations' core ones, by its name in snake case.

Three things decide where one is judged. An expectation on each value is asked of every row, and a row that does not
meet it goes to quarantine; any other (an aggregate, the table, or one with ``mostly`` below 1, which says that some
rows may fail) is asked of the rows that go on, and stops the run where it is not met. One about numbers gets columns
as numbers where most of their values are, one with dates for its bounds as dates; what Great Expectations can only do
in SQL is done in SQLite. A row condition is evertune's to tell of the rows, since it may read a column in another way.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from evertune.data.validation.arguments import BOUNDS, build
from evertune.data.validation.values import classes
from evertune.project import conditions
from evertune.project.conditions import Compared
from evertune.project.expectations import IN_SQL, INTERNAL, OF_THE_SCHEMA, UNEXPECTED_ROWS
from evertune.project.options import Expectation, Project
from evertune.records import UnfitError

ABOUT_NUMBERS = re.compile(
    r"_(max|mean|median|min|quantile_values|stdev|sum|kl_divergence|z_scores)_to_"
    r"|_to_be_between$|_to_not_be_outliers$|multicolumn_sum"
)
ABOUT_ORDER = re.compile(r"_to_be_(increasing|decreasing)$|a_to_be_greater_than_b$")
ABOUT_LENGTHS = re.compile(r"_(lengths|count|proportion_of_\w+)_to_")
COMPARED = ("value_set", "value_pairs_set", "min_value", "max_value", "sum_total")
"""Arguments that values are compared with: text there asks for text, numbers for numbers."""


class View(StrEnum):
    """What Great Expectations is given to judge."""

    TEXT = "text"
    """Columns as strings, as they were drawn."""
    NUMBERS = "numbers"
    """Columns as numbers, where most of their values are; a value that is none goes to quarantine."""
    DATES = "dates"
    """Columns as times in UTC, likewise."""
    ORDERED = "ordered"
    """Columns as numbers or, where most of their values are, as times in UTC."""
    VALUES = "values"
    """Columns as Python's own values: asked for their type, Great Expectations does not know pandas 3's strings."""
    SCHEMA = "schema"
    """All columns, without rows."""
    SQL = "sql"
    """A table ``rows`` in SQLite."""


@dataclass(frozen=True)
class Condition:
    """Which rows an expectation asks."""

    text: str
    """As pandas' ``query`` takes it."""
    compared: Compared


@dataclass(frozen=True)
class Named:
    """An expectation of the project file, bound to Great Expectations' class."""

    where: str
    """Its place in the project file."""
    expectation: Any
    view: View
    per_value: bool
    """Whether rows that do not meet it go to quarantine; else the run stops where it is not met."""
    columns: tuple[str, ...]
    """The columns that it names."""
    condition: Condition | None
    whole: bool
    """Whether it may use any column."""

    @property
    def counts(self) -> bool:
        """Whether it counts rows, and so says something where there are none."""
        return bool(self.expectation.expectation_type.startswith("expect_table_row_count_"))

    @property
    def kind(self) -> str:
        """Its name and arguments in one short line: the name under which rows are counted."""
        arguments = {
            name: value
            for name, value in self.expectation.configuration.kwargs.items()
            if name not in INTERNAL and name != "condition_parser" and value is not None
        }
        if self.condition is not None:
            arguments["row_condition"] = self.condition.text
        line = f"{self.expectation.expectation_type}({', '.join(f'{k}={v}' for k, v in sorted(arguments.items()))})"
        return line if len(line) <= 120 else line[:119] + "…"


def bind(project: Project, available: Sequence[str]) -> list[Named]:
    """The project's own expectations. Raises :class:`UnfitError` with every fault of all of them at once.

    ``available`` are the columns that can be named.
    """
    named, faults = [], []
    for place, option in enumerate(project.validation.expectations):
        where = f"validation.expectations[{place}]"
        try:
            one = _bind(option, where)
        except UnfitError as fault:
            faults.append(str(fault))
            continue
        faults.extend(_unknown_columns(one, available))
        named.append(one)
    if faults:
        raise UnfitError(f"{len(faults)} fault(s) in the expectations of {project.slug}:\n- " + "\n- ".join(faults))
    return named


def _bind(option: Expectation, where: str) -> Named:
    known = classes()
    if option.name not in known:
        near = difflib.get_close_matches(option.name, known, n=1)
        hint = f" Did you mean {near[0]}?" if near else ""
        raise UnfitError(f"{where}: Great Expectations has no core expectation {option.name}.{hint}")
    _check_names(known[option.name], option.arguments, f"{where}: {option.name}")
    expectation, faults = build(option.name, option.arguments)
    if faults:
        said = "; ".join(": ".join(filter(None, (_argument(place), message))) for place, message in faults)
        raise UnfitError(f"{where}: {option.name}: {said}.")
    return _named(expectation, where, dict(option.arguments))


def _argument(place: tuple[str | int, ...]) -> str:
    return f"argument {'.'.join(map(str, place))}" if place else ""


def _named(expectation: Any, where: str, arguments: dict[str, Any]) -> Named:
    from great_expectations.expectations.expectation import (
        ColumnMapExpectation,
        ColumnPairMapExpectation,
        MulticolumnMapExpectation,
    )

    each = isinstance(expectation, (ColumnMapExpectation, ColumnPairMapExpectation, MulticolumnMapExpectation))
    name = expectation.expectation_type
    columns = [arguments[key] for key in ("column", "column_A", "column_B") if key in arguments]
    columns += list(arguments.get("column_list") or ())
    return Named(
        where=where,
        expectation=expectation,
        view=_view(name, arguments),
        per_value=each and float(arguments.get("mostly", 1)) >= 1,
        columns=tuple(columns),
        condition=_condition(expectation),
        whole=name == UNEXPECTED_ROWS,
    )


def _condition(expectation: Any) -> Condition | None:
    from great_expectations.execution_engine import PandasExecutionEngine
    from great_expectations.expectations.row_conditions import PassThroughCondition

    given = getattr(expectation, "row_condition", None)
    if not given:
        return None
    if isinstance(given, PassThroughCondition):
        text = given.pass_through_filter.strip()
    else:  # Great Expectations' own form
        text = PandasExecutionEngine().condition_to_filter_clause(given)
    return Condition(text, conditions.read(text))


def _view(name: str, arguments: dict[str, Any]) -> View:
    if name in OF_THE_SCHEMA:
        return View.SCHEMA
    if IN_SQL.search(name):
        return View.SQL
    if name.endswith(("_to_be_of_type", "_to_be_in_type_list")):
        return View.VALUES
    return _by_arguments(name, arguments)


def _by_arguments(name: str, arguments: dict[str, Any]) -> View:
    if any(isinstance(arguments.get(key), str) for key in BOUNDS):
        return View.DATES  # no other text can be a bound
    partition = arguments.get("partition_object")
    values = partition.get("values") if isinstance(partition, dict) else None
    compared = list(_scalars([values, *(arguments.get(key) for key in COMPARED)]))
    if any(isinstance(value, str) for value in compared):
        return View.TEXT
    if ABOUT_ORDER.search(name):
        return View.ORDERED
    numbers = ABOUT_NUMBERS.search(name) or any(isinstance(value, (int, float)) for value in compared)
    return View.NUMBERS if numbers and not ABOUT_LENGTHS.search(name) else View.TEXT


def _scalars(value: Any) -> Iterator[Any]:
    if isinstance(value, (list, tuple)):
        for entry in value:
            yield from _scalars(entry)
    else:
        yield value


def _check_names(cls: Any, arguments: dict[str, Any], where: str) -> None:
    fields = sorted(set(cls.__fields__) - INTERNAL)
    for name in arguments:
        if name in INTERNAL:
            raise UnfitError(f"{where}: the argument {name} is evertune's to set. Take it out.")
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            hint = f"Did you mean {near[0]}?" if near else f"It takes: {', '.join(fields)}."
            raise UnfitError(f"{where}: there is no argument {name}. {hint}")


def _unknown_columns(named: Named, available: Sequence[str]) -> Iterator[str]:
    for column in dict.fromkeys([*named.columns, *(named.condition.compared.columns if named.condition else ())]):
        if column not in available and named.view is not View.SCHEMA:
            near = difflib.get_close_matches(column, available, n=1)
            hint = f" Did you mean {near[0]}?" if near else ""
            yield (
                f"{named.where}: {named.expectation.expectation_type}: a snapshot has no column {column}.{hint} "
                f"It has {', '.join(available)}; name further ones in data.columns.keep."
            )
