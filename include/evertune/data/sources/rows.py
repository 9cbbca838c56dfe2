"""What every kind of source gives: rows of text cells in one order, each with what is wrong with it.

A fault is a short sentence without a word of the row itself, because it is stored and counted.
"""

from __future__ import annotations

import codecs
import difflib
import json
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import NamedTuple

from evertune.records import UnfitError

INVALID_BYTES = "bytes that do not fit the encoding"
NUL = "a NUL byte"
TOO_FEW = "too few columns"
TOO_MANY = "too many columns"
OPEN_QUOTE = "a quotation mark that never closes"
NOT_JSON = "not JSON"
NOT_AN_OBJECT = "JSON, but no object"
NOT_TEXT = "the text is no string"

MARK = "\udcff"
"""Stands for bytes that did not decode, from reading until the cell is stored; cannot come out of valid bytes."""
MARKING = "evertune.mark"
"""Name of the codec error handler that puts :data:`MARK` where bytes do not decode."""


def _mark(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeDecodeError):
        raise fault
    return MARK, fault.end


codecs.register_error(MARKING, _mark)


class Row(NamedTuple):
    """Cells in the order in which the caller named the columns; the text is the first.

    Where a row cannot be told apart into cells it stands whole in the first one.
    """

    cells: Sequence[str | None]
    fault: str | None


def shapeless(whole: str, columns: int, fault: str) -> Row:
    """A row that has no cells because of ``fault``."""
    return Row([whole, *[None] * (columns - 1)], fault)


def fault_of(text: str) -> str | None:
    """What is wrong with characters that were read: undecodable bytes (or lone surrogates), a NUL, or nothing."""
    if "\0" in text:
        return NUL
    if text.isascii():
        return None
    try:
        text.encode()
    except UnicodeEncodeError:
        return INVALID_BYTES
    return None


def locate(there: Sequence[str], wanted: Iterable[str], where: str) -> list[int]:
    """Index of each wanted column. Raises :class:`UnfitError` naming what is there and what is nearest."""
    missing = [name for name in dict.fromkeys(wanted) if name not in there]
    if missing:
        hints = []
        for name in missing:
            near = difflib.get_close_matches(name.lower(), [column.lower() for column in there], n=1, cutoff=0.5)
            meant = next((column for column in there if near and column.lower() == near[0]), None)
            hints.append(f"{name!r}" + (f" (did you mean {meant!r}?)" if meant else ""))
        raise UnfitError(
            f"{where} has no column {', '.join(hints)}. Its columns are: {_shown(there)}. Name those that are meant in "
            "`data.columns` of the project file."
        )
    doubled = [name for name in dict.fromkeys(wanted) if there.count(name) > 1]
    if doubled:
        raise UnfitError(f"{where} has more than one column {doubled[0]!r}. Name its columns with `header`.")
    return [there.index(name) for name in wanted]


def _shown(names: Sequence[str]) -> str:
    shown = [repr(name if len(name) <= 40 else name[:40] + "…") for name in names[:20]]
    return ", ".join(shown) + (f" and {len(names) - 20} more" if len(names) > 20 else "")


def as_text(value: object) -> str | None:
    """A cell of a typed source (JSON, Parquet, a data set) as text.

    Nothing is what is missing: null, and a number that is none (NaN), as pandas writes it. Text stays, of bytes what is
    UTF-8. Numbers are as Python shows them (``1``, ``0.5``), decimals with all their digits (``1.00``), truth is
    ``true`` or ``false``. Dates and times are ISO 8601, with their offset where they have a zone; a duration is its
    seconds. Lists, structs and maps are JSON.
    """
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return None if value != value else repr(value)  # noqa: PLR0124 - the one number that is not itself is NaN
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, bytes):
        return value.decode("utf-8", MARKING)
    return _less_usual(value)


def _less_usual(value: object) -> str | None:
    if isinstance(value, Decimal):
        return f"{value:f}"
    if isinstance(value, timedelta):
        return as_text(value.total_seconds())
    if isinstance(value, dict | list | tuple):
        return json.dumps(value, ensure_ascii=False, default=as_text, sort_keys=True)
    return str(value)


def typed_row(values: Sequence[object]) -> Row:
    """A row of a typed source; its text must be a string, whatever the other columns are."""
    cells = [as_text(value) for value in values]
    if cells[0] is not None and not isinstance(values[0], str | bytes):
        return Row(cells, NOT_TEXT)
    fault = None
    for cell in cells:
        if cell and (fault := fault_of(cell)):
            break
    return Row(cells, fault)
