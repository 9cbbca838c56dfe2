"""YAML text becomes plain values, and it is kept where each of them stands.

Read by the core schema of YAML 1.2, as editors do: ``no`` is a text (Norway's code, not false), ``1e-4`` is a number,
``2024-01-01`` is a text. What a project file has no use for is refused, because it is a mistake or an attack: tags,
merge keys, several documents, deep nesting, aliases that expand to very much (the "billion laughs").
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

from evertune.project.places import Mark, Note, Place, UnreadableError

BYTES_LIMIT = 256 * 1024
DEPTH_LIMIT = 20
VALUES_LIMIT = 5_000

# The C parser is about ten times as fast; the wheels of PyYAML bring it, a build from source may not.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_STRING_TAGS = {"!", "tag:yaml.org,2002:str"}
_INTEGER = re.compile(r"[-+]?[0-9]{1,30}|0o[0-7]{1,30}|0x[0-9a-fA-F]{1,30}")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_CONSTANTS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}


@dataclass
class Document:
    """A YAML document as plain values."""

    value: Any = None
    marks: dict[Place, Mark] = field(default_factory=dict)
    """Where each value begins."""
    keys: dict[Place, Mark] = field(default_factory=dict)
    """Where each value's name begins."""
    notes: list[Note] = field(default_factory=list)
    """Faults that did not keep the rest from being read, such as a name given twice."""


class _Anchor(NamedTuple):
    value: Any
    size: int


def decode(data: bytes) -> str:
    """The file's text. Raises :class:`UnreadableError` where the bytes are too many or no UTF-8."""
    if len(data) > BYTES_LIMIT:
        raise _fault(Mark(1, 1), f"expected at most {BYTES_LIMIT // 1024} KiB of YAML; this file is larger")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        before = data[: fault.start]
        column = len(before[before.rfind(b"\n") + 1 :].decode("utf-8", "replace")) + 1
        raise _fault(
            Mark(before.count(b"\n") + 1, column),
            f"expected text in UTF-8; byte 0x{data[fault.start]:02x} is none",
            "save the file in UTF-8",
        ) from fault
    if "\0" in text:
        line, column = _line_column(text, text.index("\0"))
        raise _fault(Mark(line, column), "expected text; found a NUL byte", "save the file as plain text in UTF-8")
    return text


def read(text: str) -> Document:
    """The one document in ``text``. Raises :class:`UnreadableError` where it cannot be read to its end."""
    reader = _Reader(text)
    try:
        reader.document()
    except yaml.reader.ReaderError as fault:
        line, column = _line_column(text, fault.position)
        code = fault.character if isinstance(fault.character, int) else ord(fault.character[:1] or "?")
        raise _fault(Mark(line, column), f"expected printable characters; found U+{code:04X}") from fault
    except yaml.MarkedYAMLError as fault:
        raise _yaml_fault(fault, text) from fault
    return reader.result


class _Reader:
    """Builds values from the parser's events. Recursion is bounded by ``DEPTH_LIMIT``."""

    def __init__(self, text: str) -> None:
        self.events: Iterator[Any] = yaml.parse(text, Loader=_LOADER)
        self.result = Document()
        self.anchors: dict[str, _Anchor] = {}
        self.size = 0

    def document(self) -> None:
        next(self.events)  # the stream's start
        event = next(self.events)
        if isinstance(event, yaml.StreamEndEvent):
            return
        self.result.value = self.value(next(self.events), ())
        next(self.events)  # the document's end
        event = next(self.events)
        if not isinstance(event, yaml.StreamEndEvent):
            raise _fault(
                _mark(event), "expected one document a file; here a second begins", "give it a file of its own"
            )

    def value(self, event: Any, place: Place) -> Any:
        mark = _mark(event)
        self.result.marks[place] = mark
        if isinstance(event, yaml.AliasEvent):
            return self.alias(event, place)
        before = self.size
        self.count(1, mark, place)
        if len(place) > DEPTH_LIMIT:
            raise _fault(mark, f"expected at most {DEPTH_LIMIT} levels of nesting; here they are more", place=place)
        value: Any
        if isinstance(event, yaml.ScalarEvent):
            value = self.scalar(event, place)
        else:
            _refuse_tag(event, place)
            value = self.mapping(place) if isinstance(event, yaml.MappingStartEvent) else self.sequence(place)
        if event.anchor:
            self.anchors[event.anchor] = _Anchor(value, self.size - before)
        return value

    def alias(self, event: Any, place: Place) -> Any:
        anchor = self.anchors.get(event.anchor)
        if anchor is None:
            raise _fault(
                _mark(event), f"expected an alias of something above; there is no &{event.anchor}", place=place
            )
        self.count(anchor.size, _mark(event), place)
        return anchor.value

    def count(self, size: int, mark: Mark, place: Place) -> None:
        # Aliases are counted as if written out: a few lines of them can stand for billions of values.
        self.size += size
        if self.size > VALUES_LIMIT:
            raise _fault(
                mark, f"expected at most {VALUES_LIMIT} values; with aliases written out here are more", place=place
            )

    def sequence(self, place: Place) -> list[Any]:
        items: list[Any] = []
        while not isinstance(event := next(self.events), yaml.SequenceEndEvent):
            items.append(self.value(event, (*place, len(items))))
        return items

    def mapping(self, place: Place) -> dict[str, Any]:
        items: dict[str, Any] = {}
        while not isinstance(event := next(self.events), yaml.MappingEndEvent):
            name = self.name(event, place)
            here = (*place, name)
            if name in items:
                first = self.result.keys[here].line
                note = Note(
                    _mark(event), here, f"{name!r} is given twice; the first stands in line {first}", "keep one"
                )
                self.result.notes.append(note)
                here = (*place, name, "again")  # its own marks, so that those of the first stay
                self.value(next(self.events), here)
                continue
            self.result.keys[here] = _mark(event)
            items[name] = self.value(next(self.events), here)
        return items

    def name(self, event: Any, place: Place) -> str:
        if not isinstance(event, yaml.ScalarEvent):
            raise _fault(_mark(event), "expected a name before the colon; found a list, block or alias", place=place)
        _refuse_tag(event, place)
        if event.value == "<<" and event.implicit[0]:
            raise _fault(_mark(event), "merge keys (<<) are not read here", "write the options out", place=place)
        return str(event.value)

    def scalar(self, event: Any, place: Place) -> Any:
        _refuse_tag(event, place)
        text: str = event.value
        if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
            raise _fault(_mark(event), "expected text; found an escaped NUL or half a surrogate pair", place=place)
        if event.tag is not None or not event.implicit[0]:
            return text
        return _resolve(text, _mark(event), place)


def _resolve(text: str, mark: Mark, place: Place) -> Any:
    """A plain scalar by YAML 1.2's core schema, but for infinity and not-a-number, which no option can be."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INTEGER.fullmatch(text):
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _NUMBER.fullmatch(text):
        number = float(text)
        if math.isfinite(number):
            return number
        raise _fault(mark, f"expected a number that a computer can hold; found {text[:40]}", place=place)
    return text


def _refuse_tag(event: Any, place: Place) -> None:
    if event.tag is not None and not (isinstance(event, yaml.ScalarEvent) and event.tag in _STRING_TAGS):
        raise _fault(_mark(event), f"tags such as {event.tag[:60]!r} are not read here", "leave it out", place=place)


def _fault(mark: Mark, message: str, hint: str = "", place: Place = ()) -> UnreadableError:
    return UnreadableError(Note(mark, place, message, hint))


def _mark(event: Any) -> Mark:
    return Mark(event.start_mark.line + 1, event.start_mark.column + 1)


def _line_column(text: str, position: int) -> Mark:
    return Mark(text.count("\n", 0, position) + 1, position - (text.rfind("\n", 0, position) + 1) + 1)


def _yaml_fault(fault: yaml.MarkedYAMLError, text: str) -> UnreadableError:
    lines = text.splitlines() or [""]
    where_ = fault.problem_mark or fault.context_mark
    mark = Mark(where_.line + 1, where_.column + 1) if where_ else Mark(1, 1)
    if mark.line > len(lines):  # something was never closed
        mark = Mark(len(lines), len(lines[-1]) + 1)
    since = f", begun in line {fault.context_mark.line + 1}" if fault.context_mark else ""
    context = f" ({fault.context}{since})" if fault.context else ""
    return _fault(mark, f"expected YAML; {fault.problem or 'this cannot be read'}{context}", _hint(fault, lines, mark))


def _hint(fault: yaml.MarkedYAMLError, lines: list[str], mark: Mark) -> str:
    line = lines[mark.line - 1]
    if "\t" in line[: len(line) - len(line.lstrip())] or line[mark.column - 1 : mark.column] == "\t":
        return "indent by spaces: YAML forbids tabs there"
    if "mapping values are not allowed" in str(fault.problem):
        return "put a text that has a colon and a space in it into quotes"
    if "cannot start any token" in str(fault.problem):
        return "put a text that begins with a special character into quotes"
    return ""
