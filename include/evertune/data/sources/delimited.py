"""CSV and TSV as they are found: stray quotation marks, rows of the wrong width, cells of a megabyte.

One bad row costs one row. The standard reader alone would let an unclosed quotation mark swallow the rest of the
file, so a cell that goes over its line must end, and leave a row of the right width; else its first line is the
fault and the following lines are read anew.
"""

from __future__ import annotations

import csv
from collections import deque
from collections.abc import Iterator, Sequence

from evertune.data.sources.rows import OPEN_QUOTE, TOO_FEW, TOO_MANY, Row, fault_of, locate, shapeless
from evertune.project.options import Quoting, Source
from evertune.records import UnfitError

_LONGEST_RECORD = 4 << 20
"""Characters that one row may have before its quotation mark counts as one that never closes."""


class _UnclosedError(Exception):
    """A quotation mark opens a cell that does not end."""


def rows(lines: Iterator[str], source: Source, wanted: Sequence[str], delimiter: str, where: str) -> Iterator[Row]:
    """Rows with the cells of the ``wanted`` columns. Raises :class:`UnfitError` for a column that is not there."""
    records = _Records(lines, delimiter, source.quoting)
    if source.header is not None:
        names = list(source.header)
    else:
        first = next(records, None)
        if not isinstance(first, list):
            raise UnfitError(f"{where} is empty, or its first line is broken. Name a file that begins with its header.")
        names = [name.strip() for name in first]
    places = _places(names, wanted, delimiter, where)
    records.width = len(names)
    for record in records:
        yield _row(record, places, len(names), delimiter)


def _places(names: list[str], wanted: Sequence[str], delimiter: str, where: str) -> list[int]:
    try:
        return locate(names, wanted, where)
    except UnfitError as fault:
        other, advice = ("\t", "Say `format: tsv`.") if delimiter == "," else (",", "Say `format: csv`.")
        for mark, hint in ((other, advice), (";", "Save it with commas or tabs.")):
            if len(names) == 1 and mark in names[0]:
                raise UnfitError(f"{fault} Its columns seem to stand between {mark!r}. {hint}") from fault
        raise


def _row(record: list[str] | str, places: list[int], width: int, delimiter: str) -> Row:
    if isinstance(record, str):
        return shapeless(record, len(places), OPEN_QUOTE)
    if len(record) != width:
        return shapeless(delimiter.join(record), len(places), TOO_FEW if len(record) < width else TOO_MANY)
    fault = None
    for cell in record:
        fault = fault or fault_of(cell)
    return Row([record[place] for place in places], fault)


class _Records(Iterator["list[str] | str"]):
    """The file's records as lists of cells; a record whose quotation marks do not close is its first line, a string."""

    def __init__(self, lines: Iterator[str], delimiter: str, quoting: Quoting) -> None:
        self._lines = lines
        self._again: deque[str] = deque()
        self._delimiter = delimiter
        self._quoted = quoting is not Quoting.NONE
        self.width: int | None = None
        """Cells of a right record, once the header has told."""
        csv.field_size_limit(max(csv.field_size_limit(), 2 * _LONGEST_RECORD))

    def __next__(self) -> list[str] | str:
        while True:
            line = self._again.popleft() if self._again else next(self._lines)
            bare = line.rstrip("\r\n")
            if not bare:
                continue
            if self._quoted and '"' in bare:
                return self._quoted_record(line)
            return bare.split(self._delimiter)

    def _quoted_record(self, first: str) -> list[str] | str:
        taken: list[str] = []
        try:
            record = next(csv.reader(self._taking(first, taken), delimiter=self._delimiter))
        except (_UnclosedError, csv.Error):
            record = None
        if record is not None and (len(taken) == 1 or self._is_right(record, taken)):
            return record
        self._again.extendleft(reversed(taken[1:]))
        return first.rstrip("\r\n")

    def _taking(self, line: str, taken: list[str]) -> Iterator[str]:
        size = 0
        while True:
            taken.append(line)
            size += len(line)
            end = len(line.rstrip("\r\n"))
            # The csv module refuses a row with a lone CR in it; to us that is one more white space.
            yield line[:end].replace("\r", " ") + line[end:]
            if size > _LONGEST_RECORD:
                raise _UnclosedError
            try:
                line = self._again.popleft() if self._again else next(self._lines)
            except StopIteration:
                raise _UnclosedError from None

    def _is_right(self, record: list[str], taken: list[str]) -> bool:
        """Whether a record over several lines is one, and not several that a stray quotation mark holds together."""
        if self.width is not None and len(record) != self.width:
            return False
        # Nobody types tabs into a cell: a line with the tabs of a whole row is a row.
        return self._delimiter != "\t" or all(line.count("\t") != len(record) - 1 for line in taken[1:])
