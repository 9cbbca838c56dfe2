"""What is wrong with a project file, where, what was expected, and which valid name is nearest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from evertune.project.document import Document
from evertune.project.explain import explain, is_misspelt
from evertune.project.places import Mark, Note, Place, where
from evertune.records import UnfitError


@dataclass(frozen=True, order=True)
class Fault:
    """One fault of one file."""

    file: Path
    line: int
    """Counted from 1; 0 where the whole file is meant."""
    column: int
    where: str
    """The option, such as ``data.sources[0].uri``; empty where the whole file is meant."""
    message: str
    """What was expected and what was found."""
    hint: str = ""
    """What to do, with the nearest valid name where there is one."""

    def __str__(self) -> str:
        """As compilers write it, so that editors and terminals jump to the place."""
        place = f"{self.file}:{self.line}:{self.column}" if self.line else str(self.file)
        option = f" {self.where}:" if self.where else ""
        return f"{place}:{option} {self.message}" + (f"; {self.hint}" if self.hint else "")


class ProjectError(UnfitError):
    """Project files cannot be used. ``faults`` has all that is wrong with them."""

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__("\n".join(map(str, faults)))
        self.faults = tuple(faults)

    def __reduce__(self) -> tuple[Any, ...]:
        """Survives pickling, as exceptions do on their way between processes."""
        return type(self), (self.faults,)


def of_text(file: Path, note: Note) -> Fault:
    """The fault of ``file`` that was found in its text."""
    return Fault(file, note.mark.line, note.mark.column, where(note.place), note.message, note.hint)


def of_options(file: Path, document: Document, error: ValidationError) -> list[Fault]:
    """The faults that the options of ``file`` have."""
    details = error.errors(include_url=False)
    unknown = [detail["loc"] for detail in details if detail["type"] == "extra_forbidden"]
    found = []
    for detail in details:
        place = detail["loc"]
        if detail["type"] == "missing" and is_misspelt(place, unknown):
            continue  # the unknown name beside it tells the same, and which name it should be
        if detail["type"] == "too_short" and any(other["loc"][:-1][: len(place)] == place for other in details):
            continue  # pydantic counts only the items without faults
        mark = position(document, place, of_name=detail["type"] == "extra_forbidden")
        message, hint = explain(detail["type"], place, detail["input"], detail.get("ctx", {}), detail["msg"])
        found.append(Fault(file, mark.line, mark.column, where(place), message, hint))
    return found


def position(document: Document, place: Place, of_name: bool = False) -> Mark:
    """Where ``place`` stands in the text: its value or, ``of_name``, its name; else the nearest thing around it."""
    if place in document.marks:
        return document.keys.get(place, document.marks[place]) if of_name else document.marks[place]
    while place := place[:-1]:
        if place in document.marks:
            return document.keys.get(place, document.marks[place])
    return Mark(1, 1)
