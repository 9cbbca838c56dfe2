"""Places in a document: by the names that lead there, and by line and column."""

from __future__ import annotations

from typing import NamedTuple

Place = tuple[str | int, ...]
"""Names and indices that lead from the document's top to a value."""


class Mark(NamedTuple):
    """Line and column of a value's first character, counted from 1."""

    line: int
    column: int


class Note(NamedTuple):
    """A fault of the text, not yet of any file."""

    mark: Mark
    place: Place
    message: str
    hint: str = ""


class UnreadableError(Exception):
    """The text cannot be read any further."""

    def __init__(self, note: Note) -> None:
        super().__init__(note.message)
        self.note = note


def where(place: Place) -> str:
    """``data.sources[0].uri`` of the names and indices that lead there."""
    return "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in place).removeprefix(".")
