"""JSON Lines as a source of batch scoring: each field of each row as it is written, whatever the rows before had.

A reader that guesses types makes a float of a long id and a time of a date, and holds later rows to what the first ones
looked like. So every field is a column of texts: a string is its text, null is nothing, and all else (numbers, truth,
lists, objects) is its JSON, letter by letter. The file is read twice: first for its names and its faults, so that a bad
line is told before anything is scored.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING

from evertune.loop import score_places as places
from evertune.records import EvertuneError, UnfitError

if TYPE_CHECKING:
    import pyarrow as pa

Fields = dict[str, str | None]
_NOT_JSON = "is not JSON. Write one whole JSON object a line."
# Numbers are never computed, only found: no digit is lost. NaN is how some programs write that there is nothing.
_value = json.JSONDecoder(
    parse_int=str, parse_float=str, parse_constant=lambda name: None if name == "NaN" else name
).raw_decode
_SPACE = b" \t\r\n"
_BEGIN, _COLON, _NEXT = (re.compile(rf"[ \t\r\n]*{mark}[ \t\r\n]*") for mark in (r"\{", ":", "[,}]"))


class _LineError(Exception):
    """What is wrong with a line, and what to do."""


def reader(place: places.Place, stream: pa.NativeFile, column: str, longest: int) -> pa.RecordBatchReader:
    """The rows behind ``stream``, which is that of the ``place``; ``column`` has the texts.

    No line may have more than ``longest`` bytes, and a batch has not many more. Raises :class:`UnfitError` with the
    first line that cannot be read.
    """
    import pyarrow as pa

    with place.system.open_input_stream(place.path) as once:  # a packed one cannot be read from the start again
        names = _names(_rows(place, once, column, longest))
    if not names:
        raise UnfitError(f"{place.address} has no rows: there is nothing to score.")
    schema = pa.schema([(name, pa.string()) for name in names])
    return pa.RecordBatchReader.from_batches(schema, _batches(place, stream, column, longest, schema))


def _names(rows: Iterator[tuple[int, Fields]]) -> dict[str, None]:
    """All names, in the order in which they come first."""
    found: dict[str, None] = {}
    for _, fields in rows:
        if not fields.keys() <= found.keys():
            found.update(dict.fromkeys(fields))
    return found


def _batches(
    place: places.Place, stream: pa.NativeFile, column: str, longest: int, schema: pa.Schema
) -> Iterator[pa.RecordBatch]:
    import pyarrow as pa

    rows: list[Fields] = []
    size, names = 0, set(schema.names)

    def batch() -> pa.RecordBatch:
        columns = [pa.array([row.get(name) for row in rows], pa.string()) for name in schema.names]
        return pa.record_batch(columns, schema)

    for length, fields in _rows(place, stream, column, longest):
        if not fields.keys() <= names:
            raise EvertuneError(
                f"{place.address} has changed while it was read. Run again when nobody writes it any more."
            )
        rows.append(fields)
        size += length
        if size >= longest:
            yield batch()
            rows, size = [], 0
    yield batch()


def _rows(place: places.Place, stream: pa.NativeFile, column: str, longest: int) -> Iterator[tuple[int, Fields]]:
    """The objects of the lines, each with the line's length in bytes; empty lines are none."""
    with io.BufferedReader(stream, 1 << 20) as lines:
        number = 0
        while line := lines.readline(longest + 1):
            number += 1
            try:
                if row := (line.removeprefix(codecs.BOM_UTF8) if number == 1 else line).strip(_SPACE):
                    yield len(row), _fields(row, column, longest)
            except _LineError as fault:
                raise UnfitError(f"{place.address} cannot be read as JSON Lines: line {number} {fault}") from fault


def _fields(line: bytes, column: str, longest: int) -> Fields:
    if len(line) > longest:
        raise _LineError(f"has more than {longest:,} bytes. Leave it out, or shorten it.")
    try:
        text = line.decode("utf-8")
    except UnicodeDecodeError as fault:
        raise _LineError(
            f"is not UTF-8 (its byte {fault.start + 1} is 0x{line[fault.start]:02x}). Save the file as UTF-8."
        ) from fault
    if not text.startswith("{"):
        raise _LineError("is no JSON object. Write one JSON object a line.")
    try:
        fields = _parsed(text, column)
    except (ValueError, RecursionError) as fault:
        raise _LineError(_NOT_JSON) from fault
    if "\\u" in text:
        _check_whole(fields)
    return fields


def _parsed(text: str, column: str) -> Fields:
    """The object's fields. Raises :class:`ValueError` where it is none."""
    fields: Fields = {}
    at = _after(_BEGIN, text, 0)
    if text[at:] == "}":
        return fields
    while True:
        if text[at : at + 1] != '"':
            raise ValueError(f"no name at {at}")
        name, at = _value(text, at)
        if name in fields:
            raise _LineError(f"is ambiguous: {name!r} stands there twice. Leave one of them out.")
        at = _after(_COLON, text, at)
        value, end = _value(text, at)
        is_text = text[at] == '"'
        if name == column and not (is_text or value is None):
            raise _LineError(f"has nothing to score: {name!r} is no text. Write a string, or null.")
        fields[name] = value if is_text or value is None else text[at:end]
        at = _after(_NEXT, text, end)
        if "}" in text[end:at]:
            break
    if at < len(text):
        raise ValueError(f"something more at {at}")
    return fields


def _after(mark: re.Pattern[str], text: str, at: int) -> int:
    found = mark.match(text, at)
    if found is None:
        raise ValueError(f"no {mark.pattern} at {at}")
    return found.end()


def _check_whole(fields: Fields) -> None:
    try:
        "".join([*fields, *(value for value in fields.values() if value)]).encode()
    except UnicodeEncodeError as fault:
        raise _LineError("has half of a surrogate pair (\\ud800 to \\udfff) alone, which is no character.") from fault
