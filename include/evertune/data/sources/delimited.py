"""CSV and TSV as they are found: stray quotation marks, rows of the wrong width, cells of a megabyte.

One bad row costs one row. The standard reader alone would let an unclosed quotation mark swallow the rest of the
file, or all up to the next stray one. So a cell that goes over its line must end as it should, before a delimiter or
the line's end, and leave a row of the right width whose lines are not plainly rows themselves; else its first line is
the fault and the following lines are read anew.

What no reader can tell: a mark that opens a cell and one that ends a cell a few rows below are, to the letter, a cell
over several lines, and are read as that.
"""

from __future__ import annotations

import csv
import re
from collections import deque
from collections.abc import Iterator, Sequence

from evertune.data.sources.rows import OPEN_QUOTE, TOO_FEW, TOO_MANY, Row, fault_of, locate, shapeless
from evertune.project.options import Quoting, Source
from evertune.records import UnfitError

_LONGEST_RECORD = 4 << 20
"""Characters that one row may have before its quotation mark counts as one that never closes."""
_TELLING = 20
"""Delimiters in a record of at least three lines, each line having as many as a row has, that tell of so many rows."""


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
        self._taken: list[str] = []
        self._size = 0
        self._across = csv.reader(iter(self._take, None), delimiter=delimiter, strict=True)
        self._alone: deque[str] = deque()
        # Reads the one line that lies in `_alone`, and raises IndexError where its last cell asks for another.
        self._lone = csv.reader(iter(self._alone.popleft, None), delimiter=delimiter)
        cell = rf'(?:"(?:[^"]|"")*+"|[^"\r\n{delimiter}]*+)'
        self._faultless = re.compile(rf"{cell}(?:{delimiter}{cell})*+\s*")
        """A record as programs write it: no quotation mark in a cell that does not begin with one."""
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
        record, taken = None, [first]
        if first.count('"') % 2 == 0:  # nearly always a record of one line
            record = self._by_itself(first)
        if record is None:
            record, taken = self._strictly(first)
        if record is None and len(taken) == 1:
            record = self._by_itself(first)
        if record is not None and (len(taken) == 1 or self._is_right(record, taken)):
            return record
        self._again.extendleft(reversed(taken[1:]))
        return first.rstrip("\r\n")

    def _by_itself(self, line: str) -> list[str] | None:
        """The line's record, its marks being where they like, for no other line hangs on them; none if it goes on."""
        self._alone.append(_without_lone_cr(line) if "\r" in line else line)
        try:
            return next(self._lone)
        except (IndexError, csv.Error):
            return None

    def _strictly(self, first: str) -> tuple[list[str] | None, list[str]]:
        """The record that begins with the line, none where a mark is not where it should be, and the lines it took."""
        self._again.appendleft(first)
        self._taken, self._size = [], 0
        try:
            return next(self._across), self._taken
        except (_UnclosedError, csv.Error):
            return None, self._taken

    def _take(self) -> str:
        """One more line of the record that is being read."""
        if self._size > _LONGEST_RECORD:
            raise _UnclosedError
        line = self._again.popleft() if self._again else next(self._lines, None)
        if line is None:
            raise _UnclosedError
        self._taken.append(line)
        self._size += len(line)
        return _without_lone_cr(line) if "\r" in line else line

    def _is_right(self, record: list[str], taken: list[str]) -> bool:
        """Whether a record over several lines is one, and not several that stray quotation marks hold together."""
        if self.width is not None and len(record) != self.width:
            return False
        return not self._is_several(record, taken) and not self._ends_too_late(taken)

    def _is_several(self, record: list[str], taken: list[str]) -> bool:
        if not any(self._delimiter in cell and "\n" in cell for cell in record):
            return False
        wide = len(record) - 1
        rows = [line.count(self._delimiter) == wide for line in taken]
        if self._delimiter == "\t":  # nobody types tabs into a cell: a line with the tabs of a whole row is a row
            return any(rows[1:])
        # People type commas, but not as many into each line. Between two stray marks there may be a bad row too.
        return len(rows) > 2 and len(rows) * wide >= _TELLING and sum(rows) >= 0.9 * len(rows)

    def _ends_too_late(self, taken: list[str]) -> bool:
        """Whether the mark that ends a record, in its last line, rather opens a cell of the row that begins there.

        It can where it stands at the beginning of a cell; where both readings are possible, what follows them tells.
        """
        last = taken[-1]
        at = last.index('"')
        if (at and last[at - 1] != self._delimiter) or not self._begins_a_row(last):
            return False
        if not self._faultless.fullmatch("".join(taken)):
            return True
        following = self._again.popleft() if self._again else next(self._lines, None)
        if following is None:
            return False
        late = not self._begins_a_row(following)
        self._again.appendleft(following)
        return late

    def _begins_a_row(self, line: str) -> bool:
        record, taken = self._strictly(line)
        self._again.extendleft(reversed(taken[1:]))
        return record is not None and len(record) == self.width and bool(self._faultless.fullmatch("".join(taken)))


def _without_lone_cr(line: str) -> str:
    # The csv module refuses a row with a lone CR in it; to us that is one more white space.
    end = len(line.rstrip("\r\n"))
    return line[:end].replace("\r", " ") + line[end:]
