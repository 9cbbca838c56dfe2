"""Pydantic's errors in words: what was expected, what was found, what to do."""

from __future__ import annotations

import difflib
import json
import types
import typing
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import Enum
from typing import Any

from pydantic import BaseModel

from evertune.project.block import SHA256, SLUG
from evertune.project.options import Project
from evertune.project.places import Place, where
from evertune.project.slugs import suggestion

Words = tuple[str, str]
"""Message and hint."""

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "dict_type": "a block of names with values",
    "tuple_type": "a list (lines that begin with a hyphen)",
    "model_type": "a block of options",
    "finite_number": "a finite number",
    "greater_than_equal": "at least {ge:g}",
    "greater_than": "more than {gt:g}",
    "less_than_equal": "at most {le:g}",
    "less_than": "less than {lt:g}",
    "string_too_short": "a text of at least {min_length} character(s)",
    "string_too_long": "a text of at most {max_length} characters",
    "too_short": "a list of at least {min_length}",
    "too_long": "a list of at most {max_length}",
}
_WORDS_FOR_TRUTH = {"yes": "true", "on": "true", "y": "true", "no": "false", "off": "false", "n": "false"}


def explain(kind: str, place: Place, given: Any, context: Mapping[str, Any], message: str) -> Words:
    """Message and hint of an error of type ``kind`` at ``place``, where ``given`` stands.

    ``context`` and ``message`` are what pydantic says of it; its own message is the last resort.
    """
    special = _SPECIAL.get(kind)
    if special:
        return special(place, given, context)
    expected = _EXPECTED[kind].format(**context) if kind in _EXPECTED else message
    return f"expected {expected}; found {found(given)}", _type_hint(kind, place, given)


def nearest(name: str, known: Iterable[str]) -> str:
    """``did you mean …?`` with the valid name that is most like ``name``; empty where none is."""
    by_lower = {candidate.lower(): candidate for candidate in known}
    close = difflib.get_close_matches(name.lower(), by_lower, n=1, cutoff=0.6)
    return f"did you mean {by_lower[close[0]]!r}?" if close else ""


def is_misspelt(place: Place, unknown: Iterable[Place]) -> bool:
    """Whether the missing option at ``place`` is there under one of the ``unknown`` names beside it."""
    beside = [str(other[-1]) for other in unknown if other[:-1] == place[:-1]]
    return any(nearest(name, options(place[:-1])) == f"did you mean {place[-1]!r}?" for name in beside)


def found(value: object) -> str:
    """``value`` in words, short whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | BaseModel):
        return "a block of options"
    if isinstance(value, list | tuple):
        return f"a list of {len(value)}"
    if isinstance(value, str) and len(value) > 60:
        return f"a text of {len(value)} characters"
    return json.dumps(value, ensure_ascii=False)[:60] if isinstance(value, str | bool) else str(value)[:60]


def options(place: Place) -> Mapping[str, Any]:
    """The fields of the block at ``place``; none where no block can stand there."""
    for kind in _kinds(place):
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            return kind.model_fields
    return {}


def is_block(place: Place) -> bool:
    """Whether a block must stand at ``place``: not where nothing can be there too."""
    return bool(options(place)) and type(None) not in _kinds(place)


def _missing(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    name = str(place[-1])
    meaning = options(place[:-1])[name].description.split(". ")[0].rstrip(".")
    block = where(place[:-1]) or "the file"
    return f"expected the option {name!r}, which is missing", f"add {name}: … to {block} ({meaning})"


def _unknown(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    name, known = str(place[-1]), tuple(options(place[:-1]))
    hint = nearest(name, known) or f"the options here are {', '.join(known)}"
    return f"expected an option of {where(place[:-1]) or 'a project file'}; {name!r} is none", hint


def _form(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    return context["message"], nearest(str(given), context["known"])


def _choice(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    known = tuple(_choices(place))
    some = "one of " if len(known) > 1 else ""
    hint = "write it without quotation marks" if given in known else nearest(str(given), known)
    return f"expected {some}{', '.join(known)}; found {found(given)}", hint


def _pattern(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    regex = context["pattern"]
    if regex == SHA256:
        return f"expected 64 hexadecimal digits (0-9, a-f); found {found(given)}", ""
    if regex == SLUG:
        message = f"expected lower-case letters, digits and single hyphens, a letter first; found {found(given)}"
        return message, f"{suggestion(str(given))!r} would do"
    return f"expected a text of the form {regex}; found {found(given)}", ""


def _value(place: Place, given: Any, context: Mapping[str, Any]) -> Words:  # noqa: ARG001 - one shape for all
    return f"expected another value: {context['error']}", ""


_SPECIAL: Mapping[str, Callable[[Place, Any, Mapping[str, Any]], Words]] = {
    "missing": _missing,
    "extra_forbidden": _unknown,
    "form": _form,
    "enum": _choice,
    "literal_error": _choice,
    "string_pattern_mismatch": _pattern,
    "value_error": _value,
}


def _type_hint(kind: str, place: Place, given: object) -> str:
    if given is None:
        return _nothing_hint(place)
    if kind == "string_type" and isinstance(given, bool | int | float):
        return "put it in quotes to make it a text"
    if kind == "bool_type" and isinstance(given, str) and given.lower() in _WORDS_FOR_TRUTH:
        return f"write {_WORDS_FOR_TRUTH[given.lower()]}"
    if kind in {"int_type", "float_type"} and isinstance(given, str) and given.replace(".", "", 1).isdigit():
        return "leave the quotes out"
    return ""


def _nothing_hint(place: Place) -> str:
    option = options(place[:-1]).get(str(place[-1])) if place else None
    if option is not None and option.is_required():
        return "give a value: it has no default"
    return "give a value, or take the whole line out for the default"


def _kinds(place: Place) -> list[Any]:
    """The types that a value at ``place`` can have."""
    kinds: list[Any] = [Project]
    for step in place:
        kinds = [inner for kind in kinds for inner in _step(kind, step)]
    return kinds


def _step(kind: Any, step: str | int) -> Iterator[Any]:
    if isinstance(kind, type) and issubclass(kind, BaseModel):
        if step in kind.model_fields:
            yield from _alternatives(kind.model_fields[str(step)].annotation)
    elif isinstance(step, int) or typing.get_origin(kind) is dict:
        for inner in typing.get_args(kind):
            if inner is not Ellipsis:
                yield from _alternatives(inner)


def _alternatives(kind: Any) -> Iterator[Any]:
    """A type's alternatives, without their bounds."""
    origin = typing.get_origin(kind)
    if origin is typing.Annotated:
        yield from _alternatives(typing.get_args(kind)[0])
    elif origin in {typing.Union, types.UnionType}:
        for inner in typing.get_args(kind):
            yield from _alternatives(inner)
    else:
        yield kind


def _choices(place: Place) -> Iterator[str]:
    for kind in _kinds(place):
        if typing.get_origin(kind) is typing.Literal:
            yield from map(str, typing.get_args(kind))
        elif isinstance(kind, type) and issubclass(kind, Enum):
            yield from (str(member.value) for member in kind)
