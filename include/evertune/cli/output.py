"""What commands print: tables and sentences for people, or one JSON object on stdout with ``--json``."""

from __future__ import annotations

import io
import json
import sys
from typing import Annotated, Any

import typer
from rich.console import Console

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]
ProjectName = Annotated[str, typer.Argument(help="A name in the projects folder, or a path to a YAML file anywhere.")]

people = Console()
"""Standard output, for results."""
notes = Console(stderr=True)
"""Standard error, for progress and complaints."""


def complain(fault: object) -> None:
    """What is wrong, in red, on standard error, and never broken within a path."""
    notes.print(str(fault), style="red", markup=False, highlight=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """One JSON object on stdout, with escapes where the terminal's encoding has no such character."""
    text = json.dumps(value, ensure_ascii=False, indent=2)
    sys.stdout.write((text if _fits(text) else json.dumps(value, indent=2)) + "\n")
    sys.stdout.flush()


def print_markdown(text: str) -> None:
    """Markdown on stdout, with character references where the terminal's encoding has no such character."""
    encoding = _encoding()
    sys.stdout.write(text if _fits(text) else text.encode(encoding, "xmlcharrefreplace").decode(encoding))
    sys.stdout.flush()


def never_fail_on_a_character() -> None:
    """What is printed for people shows a character that the terminal's encoding does not have by its number."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def _fits(text: str) -> bool:
    try:
        text.encode(_encoding())
    except UnicodeEncodeError:
        return False
    return True


def _encoding() -> str:
    return sys.stdout.encoding or "utf-8"
