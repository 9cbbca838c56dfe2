"""An expectation's arguments, held against Great Expectations' own models, and its errors in a project file's words.

Its models give way: a quoted number becomes a number, 1.5 characters become 1, and any block is taken for a parameter
that somebody fills in later. None of this is meant in a project file, so what they made is compared with what stood
there (`values`), and a run is not needed to find out.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from evertune.data.validation.values import Unfit, beyond, blocks, classes, forms, moment, queries
from evertune.project.across import Crossed, expectations
from evertune.project.expectations import arguments_of
from evertune.project.explain import found

EXPECTED = {
    "type_error.float": "a number",
    "type_error.integer": "a whole number",
    "type_error.list": "a list",
    "type_error.sequence": "a list",
    "type_error.set": "a list",
    "type_error.tuple": "a list",
    "value_error.list.min_items": "a longer list",
    "type_error.bool": "true or false",
    "value_error.strictbool": "true or false",
    "type_error.str": "a text",
    "value_error.date": "a date",
    "value_error.datetime": "a date with a time",
    "value_error.number.not_le": "at most {limit_value:g}",
    "value_error.number.not_ge": "at least {limit_value:g}",
    "type_error.none.not_allowed": "a value",
}
BLOCK = "type_error.dict"
"""Told of every argument, because a block in its place would be a parameter of a suite."""
WHOLE = "__root__"
BOUNDS = ("min_value", "max_value")


def unfit(document: Mapping[str, Any]) -> Iterator[Crossed]:
    """What the values of the arguments in a project file, as raw as it was read, cannot be.

    Names that there are not are passed over, because loading the file tells them.
    """
    for index, name, arguments in expectations(document):
        known = arguments_of(name)
        given = {key: value for key, value in arguments.items() if key in known}
        if not known:
            continue
        for place, message in build(name, given)[1]:
            at = ("validation", "expectations", index, "arguments", *place)
            yield Crossed(at, _at(given, place), message, ())


def build(name: str, arguments: Mapping[str, Any]) -> tuple[Any, list[Unfit]]:
    """Great Expectations' expectation of this name, and what is wrong with its arguments; ``None`` where it is none.

    The arguments' names must be right already.
    """
    from great_expectations.compatibility.pydantic import ValidationError
    from great_expectations.exceptions import GreatExpectationsError

    given = {name: _dated(value) if name in BOUNDS else value for name, value in arguments.items()}
    if faults := [*blocks(given), *queries(given)]:
        return None, faults
    if name == "expect_multicolumn_values_to_be_unique":
        # Great Expectations 1.24 ships this class without its metric; this one means the same and works.
        name = "expect_compound_columns_to_be_unique"
        given.pop("column", None)
    expectation, faults = None, []
    try:
        expectation = classes()[name](**given)
        faults = list(beyond(expectation, given))
    except ValidationError as fault:
        faults = list(_in_words(fault.errors(), given))
    except (GreatExpectationsError, TypeError, ValueError) as fault:
        faults = [Unfit((), f"expected other arguments: {fault}")]
    told = {place[0] for place, _ in faults if place}
    faults += forms({key: value for key, value in given.items() if key not in told})
    return (None if faults else expectation), faults


def _dated(value: Any) -> Any:
    """A bound that is a date, as the moment that it means: columns of dates are compared in UTC."""
    return (moment(value) if isinstance(value, str) else None) or value


def _in_words(errors: Iterable[Mapping[str, Any]], given: Mapping[str, Any]) -> Iterator[Unfit]:
    at: dict[tuple[str | int, ...], list[Mapping[str, Any]]] = {}
    for error in errors:
        argument, *inner = error["loc"]
        items = itertools.takewhile(lambda step: isinstance(step, int), inner)
        at.setdefault((argument, *items), []).append(error)
    for place, told in at.items():
        if place == (WHOLE,):
            if len(at) == 1:  # else it may only follow from the others
                yield Unfit((), f"expected other arguments: {told[0]['msg']}")
        elif told[0]["type"] == "value_error.missing" and len(told[0]["loc"]) == 1:
            yield Unfit((), f"expected the argument {place[0]!r}, which is missing")
        elif not any(other[: len(place)] == place and other != place for other in at):
            yield Unfit(place, f"expected {_expected(told)}; found {found(_at(given, place))}")


def _expected(told: list[Mapping[str, Any]]) -> str:
    """What the value at one place could have been: any of its type's alternatives."""
    real = [error for error in told if error["type"] != BLOCK] or told
    named = [EXPECTED[error["type"]].format(**error.get("ctx", {})) for error in real if error["type"] in EXPECTED]
    if named:
        return " or ".join(dict.fromkeys(named))
    kind, context, said = real[0]["type"], real[0].get("ctx", {}), str(real[0]["msg"]).rstrip(".")
    if permitted := context.get("permitted") or context.get("enum_values"):
        return "one of " + ", ".join(str(getattr(value, "value", value)) for value in permitted)
    inner = [str(step) for step in real[0]["loc"][1:] if step != WHOLE]
    return "a block of names with values" if kind == BLOCK else f"another value ({': '.join([*inner, said])})"


def _at(value: Any, place: tuple[str | int, ...]) -> Any:
    for step in place:
        try:
            value = value[step]
        except (KeyError, IndexError, TypeError):
            return None
    return value
