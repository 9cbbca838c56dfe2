"""JSON Lines: one object a line. A line that is none costs that line; a file without any is not JSON Lines."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator, Sequence

from evertune.data.sources.rows import NOT_AN_OBJECT, NOT_JSON, NUL, Row, fault_of, locate, shapeless, typed_row
from evertune.records import UnfitError

_LOOK = 1000
"""Lines whose keys tell the columns; later objects may leave out what they do not have."""


def rows(lines: Iterator[str], wanted: Sequence[str], where: str) -> Iterator[Row]:
    """Rows with the values of the ``wanted`` keys. Raises :class:`UnfitError` where none of the lines is an object."""
    parsed = ((line, _parse(line)) for line in lines if not line.isspace())
    head = list(itertools.islice(parsed, _LOOK))
    objects = [value for _, value in head if isinstance(value, dict)]
    if head and not objects:
        array = head[0][0].lstrip("\ufeff ").startswith("[")
        advice = "It looks like one JSON array: write one object a line." if array else "Write one JSON object a line."
        raise UnfitError(f"{where} is not JSON Lines: none of its first {len(head)} lines is an object. {advice}")
    locate(list(dict.fromkeys(key for value in objects for key in value)), wanted, where)
    for line, value in itertools.chain(head, parsed):
        yield _row(line, value, wanted)


def _parse(line: str) -> object:
    """The line's value, or the sentence that says what is wrong with it."""
    try:
        value = json.loads(line)
    except (ValueError, RecursionError):
        return NUL if "\0" in line else NOT_JSON
    return value if isinstance(value, dict) else NOT_AN_OBJECT


def _row(line: str, value: object, wanted: Sequence[str]) -> Row:
    if not isinstance(value, dict):
        return shapeless(line.rstrip("\r\n"), len(wanted), str(value))
    try:
        row = typed_row([value.get(name) for name in wanted])
    except RecursionError:  # lists in lists that were just not too deep to be read
        return shapeless(line.rstrip("\r\n"), len(wanted), NOT_JSON)
    return row if row.fault else Row(row.cells, fault_of(line))
