"""Cells of a source become fields of a snapshot row, with nothing personal left in any of them.

Redaction fails closed: a cell that it cannot work on is left out. An id or group name that redaction would change
(an e-mail address as a customer's id) is stored as a salted hash, so rows still stay together and can be traced.
"""

from __future__ import annotations

import re
from collections import Counter
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any

from evertune.data.labelled import LabelledRow
from evertune.data.sources import Row
from evertune.project.options import Project, Source
from evertune.text import Redactor, clean, normalise, pseudonym, row_id

FIELDS = ("row_id", "text", "label", "id", "group", "subject", "time", "source")
"""Columns that every snapshot has, before the project's own."""

NOT_REDACTED = "it could not be redacted"
BAD_TIME = "its time is neither ISO 8601 nor Unix seconds"
_SHORT = 200
_SHORTEST_FIND = 8
"""No built-in pattern finds anything in fewer letters and digits."""


class CellCleaner:
    """What one project's columns mean, and how their cells are made fit to store. Counts what it redacts."""

    def __init__(self, project: Project, redactor: Redactor, salt: str) -> None:
        data, columns = project.data, project.data.columns
        constants = sorted({name for source in data.sources for name in source.constants})
        pattern = columns.group.pattern if columns.group else None
        self._pattern = re.compile(pattern) if pattern is not None else None
        self._redactor = redactor
        self._built_in = not data.redaction.custom
        self._slug, self._salt = project.slug, salt
        self._cached = lru_cache(maxsize=10_000)(self._clean)
        self._keep = columns.keep
        optional: dict[str, str | None] = {
            "id": columns.id,
            "group": columns.group.column if columns.group else None,
            "subject": columns.subject,
            "time": columns.time,
        }
        self._named = [columns.text, columns.label, *(name for name in optional.values() if name is not None)]
        there = [kind for kind, name in optional.items() if name is not None]
        self._at = {kind: 2 + place for place, kind in enumerate(there)}
        self.extra = tuple(dict.fromkeys([*columns.keep, *constants]))
        """Further columns of the snapshot: what the project keeps, and the sources' constants."""
        self.found: Counter[str] = Counter()
        """Pattern → how often it found something in a text, a label or a kept column."""

    def wanted(self, source: Source) -> list[str]:
        """Columns to read of the source, in the order in which :meth:`record` takes their cells; the text first."""
        return [*self._named, *(name for name in self._keep if name not in source.constants)]

    def group_key(self, row: Row) -> str:
        """What a row is picked by: its group, else its text, else the whole row. Never stored."""
        group = self._group(row)
        return group or normalise(row.cells[0] or "") or "\t".join(cell or "" for cell in row.cells)

    def record(self, row: Row, index: int, source: Source) -> tuple[Any, ...]:
        """The snapshot row of ``row``, which is of the source number ``index``: :data:`FIELDS`, extra, fault."""
        cells, fault = row
        text = None
        if cells[0] is not None:
            text, fault = self._text(cells[0], fault)
        identity = row_id(text or "")
        time, fault = _utc(self._cell(row, "time"), fault)
        subject = self._cell(row, "subject")
        values = {
            "row_id": identity,
            "text": text,
            "label": self._short(cells[1]),
            "id": self._identifier(self._cell(row, "id")),
            "group": self._identifier(self._group(row)) or identity,
            "subject": self._hash(subject) if subject else None,
            "time": time,
            "source": index,
        }
        kept = dict(zip(self.wanted(source)[len(self._named) :], cells[len(self._named) :], strict=True))
        extra = [source.constants.get(name) or self._short(kept.get(name)) for name in self.extra]
        return (*values.values(), *extra, fault)

    def labelled(self, row: LabelledRow, group: str | None, index: int) -> tuple[Any, ...]:
        """The snapshot row of a row of labelled traffic; ``group`` is its name among the sources' groups.

        It is redacted already, and redacted again: the project may have learnt of a new pattern since. What the sources
        keep besides text and label is not known of it.
        """
        text, fault = self._text(row.text, None)
        identity = row_id(text or "")
        time = row.answered.astimezone(UTC).isoformat()
        known = (identity, text, self._short(row.label), row.prediction_id, group or identity, None, time, index)
        return (*known, *(None for _ in self.extra), fault)

    def hashed(self, name: str) -> str:
        """The salted hash of a group's name, as the traffic log has it."""
        return self._hash(name)

    def _cell(self, row: Row, kind: str) -> str | None:
        at = self._at.get(kind)
        return row.cells[at] if at is not None else None

    def _group(self, row: Row) -> str | None:
        group = self._cell(row, "group")
        if not group or self._pattern is None:
            return group
        match = self._pattern.search(group)
        return (match[1] if match and self._pattern.groups else None) or group

    def _text(self, text: str, fault: str | None) -> tuple[str | None, str | None]:
        cleaned, found = self._clean(text)
        if found:
            self.found.update(found)
        return cleaned, fault if cleaned is not None else NOT_REDACTED

    def _short(self, cell: str | None) -> str | None:
        """A label or slice, of which there are few different ones; ``None`` where it is empty."""
        if not cell:
            return None
        cleaned, found = self._cached(cell) if len(cell) <= _SHORT else self._clean(cell)
        if found:
            self.found.update(found)
        return cleaned or None

    def _identifier(self, cell: str | None) -> str | None:
        if not cell:
            return None
        if self._built_in and len(cell) < _SHORTEST_FIND and cell.replace("_", "").isalnum() and cell.isascii():
            return cell
        cleaned, found = self._cached(cell) if len(cell) <= _SHORT else self._clean(cell)
        return self._hash(cell) if found or cleaned is None else cleaned or None

    def _clean(self, cell: str) -> tuple[str | None, dict[str, int]]:
        try:
            return clean(cell, self._redactor)
        except Exception:  # noqa: BLE001 - whatever fails, the cell must not be stored as it is
            return None, {}

    def _hash(self, value: str) -> str:
        return pseudonym(value, self._slug, self._salt)


def _utc(value: str | None, fault: str | None) -> tuple[str | None, str | None]:
    """ISO 8601 or Unix seconds as ISO 8601 in UTC; a time without a zone is one of UTC."""
    value = value.strip() if value else None
    if not value:
        return None, fault
    try:
        number = float(value)
    except ValueError:
        number = None
    try:
        if number is not None and len(value) != len("20130425"):
            time = datetime.fromtimestamp(number, UTC)
        else:
            time = datetime.fromisoformat(value)
            time = time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        return None, fault or BAD_TIME
    return time.isoformat(), fault
