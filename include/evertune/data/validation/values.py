"""What an expectation's arguments must be beyond the types of Great Expectations' models.

Each of these was seen to be accepted when the expectation is made, and to fail, or to mean something else, when rows
are judged.
"""

from __future__ import annotations

import functools
import importlib
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from enum import Enum
from string import Formatter
from typing import Any, NamedTuple

from evertune.project import conditions
from evertune.project.expectations import OF_TWO_TABLES
from evertune.project.explain import found

BLOCKS = frozenset({"json_schema", "meta", "partition_object", "quantile_ranges", "row_condition"})
"""Arguments whose value may be a block. In any other's place, it would be a parameter that nobody fills in."""


class Unfit(NamedTuple):
    """What an expectation's arguments should be and are not."""

    place: tuple[str | int, ...]
    """Within the arguments; empty where they are meant together."""
    message: str


@functools.cache
def classes() -> dict[str, Any]:
    """Every core expectation of Great Expectations that can be asked, by its name in snake case."""
    import great_expectations.expectations as gxe
    from great_expectations.util import camel_to_snake

    by_name = {camel_to_snake(name): getattr(gxe, name) for name in dir(gxe) if name.startswith(("Expect", "Unexp"))}
    return {name: cls for name, cls in by_name.items() if name not in {"expectation", *OF_TWO_TABLES}}


def queries(arguments: Mapping[str, Any]) -> Iterator[Unfit]:
    """Queries that do not ask the batch: Great Expectations takes them, and prints that on standard output."""
    query = arguments.get("unexpected_rows_query")
    if query is None:
        return
    wanted = "a query of {batch}, and no other braces, as in SELECT * FROM {batch} WHERE text LIKE '%spam%'"
    try:
        names = [name for _, name, _, _ in Formatter().parse(query) if name is not None]
    except (TypeError, ValueError):
        names = []
    if not isinstance(query, str) or set(names) != {"batch"}:
        yield Unfit(("unexpected_rows_query",), f"expected {wanted}; found {found(query)}")


def blocks(arguments: Mapping[str, Any]) -> Iterator[Unfit]:
    """Blocks where a value must stand: Great Expectations takes each for a parameter that somebody fills in later."""
    for name, given in arguments.items():
        if isinstance(given, Mapping) and (name not in BLOCKS or "$PARAMETER" in given):
            yield Unfit((name,), f"expected a value, not a block; found {found(given)}")


def beyond(expectation: Any, arguments: Mapping[str, Any]) -> Iterator[Unfit]:
    """Where Great Expectations made something else of an argument, and bounds that nothing lies between."""
    for name, given in arguments.items():
        if wanted := _type(given, getattr(expectation, name, given)):
            yield Unfit((name,), f"expected {wanted}; found {found(given)}")
    least, most = getattr(expectation, "min_value", None), getattr(expectation, "max_value", None)
    if type(least) is type(most) and least is not None and least > most:
        yield Unfit(("max_value",), f"expected at least min_value, which is {least}; found {found(most)}")


def forms(arguments: Mapping[str, Any]) -> Iterator[Unfit]:
    """Arguments, each of the right type, that have not the form that they need."""
    for name, given in arguments.items():
        if name in _FORMS and given is not None and (wanted := _FORMS[name](given)):
            yield Unfit((name,), f"expected {wanted}; found {found(given)}")


def _type(given: Any, made: Any) -> str:
    """What was wanted where the model made something else of the value; empty where it did not."""
    if isinstance(made, bool):
        return "" if isinstance(given, bool) else "true or false"
    if isinstance(made, int | float):
        if isinstance(given, bool) or not isinstance(given, int | float):
            return "a number (without quotes)"
        return "" if given == made else "a whole number"
    if isinstance(made, str) and not isinstance(made, Enum) and not isinstance(given, str):
        return "a text (in quotes)"
    return ""


def _regex(given: Any) -> str:
    for pattern in given if isinstance(given, list) else [given]:
        try:
            re.compile(pattern)
        except re.error as fault:
            return f"a regular expression ({pattern!r} is none: {fault})"
    return ""


def _json_schema(given: Any) -> str:
    from jsonschema import SchemaError
    from jsonschema.validators import validator_for

    try:
        validator_for(given).check_schema(given)
    except SchemaError as fault:
        return f"a JSON schema ({fault.message})"
    return ""


def _quantile_ranges(given: Any) -> str:
    quantiles, ranges = given.get("quantiles"), given.get("value_ranges")
    fit = (
        isinstance(quantiles, list)
        and isinstance(ranges, list)
        and len(quantiles) == len(ranges)
        and all(isinstance(one, int | float) and 0 <= one <= 1 for one in quantiles)
        and all(isinstance(one, list) and len(one) == 2 for one in ranges)
    )
    return "" if fit else "quantiles from 0 to 1 and as many value_ranges, each a list of the least and the most"


def _partition(given: Any) -> str:
    from great_expectations.execution_engine.util import is_valid_partition_object

    try:
        if is_valid_partition_object(given):
            return ""
    except (TypeError, ValueError):
        pass
    return "weights whose sum is 1, with as many values or, rising, one more bins"


def _data_type(given: Any) -> str:
    import numpy as np
    from great_expectations.expectations.type_comparison import native_type_type_map

    for name in given if isinstance(given, list) else [given]:
        try:
            np.dtype(name)
        except TypeError:
            places = [importlib.import_module(module) for module in ("pandas", "pandas.core.dtypes.dtypes")]
            if native_type_type_map(name) is None and not any(isinstance(getattr(p, name, 0), type) for p in places):
                return f"a type of Python, NumPy or pandas, such as str or int ({name!r} is none)"
    return ""


def _condition(given: Any) -> str:
    if isinstance(given, Mapping):
        return ""  # Great Expectations' own form, which it has checked
    wanted = "a condition as pandas' query takes it"
    if not isinstance(given, str):
        return wanted
    try:
        both = conditions.read(given).both
    except (SyntaxError, ValueError) as fault:
        return f"{wanted} ({fault.args[0]})"
    return f"a condition that compares {both[0]} with numbers or with texts, not with both" if both else ""


def _bound(given: Any) -> str:
    return "a date as ISO 8601 writes it, such as 2024-01-31" if isinstance(given, str) and not moment(given) else ""


def moment(text: str) -> datetime | None:
    """The moment that a text in ISO 8601 means, in UTC; a time without a zone is one of UTC, a date its beginning."""
    try:
        time = datetime.fromisoformat(text.strip())
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


_FORMS: Mapping[str, Callable[[Any], str]] = {
    "regex": _regex,
    "regex_list": _regex,
    "json_schema": _json_schema,
    "quantile_ranges": _quantile_ranges,
    "partition_object": _partition,
    "type_": _data_type,
    "type_list": _data_type,
    "row_condition": _condition,
    "min_value": _bound,
    "max_value": _bound,
}
"""What has a form, by the argument's name: what was wanted, or nothing where the value has it."""
