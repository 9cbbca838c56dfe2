"""What commands print: tables and sentences for people, or one JSON object on stdout with ``--json``."""

from __future__ import annotations

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
    """One JSON object on stdout."""
    sys.stdout.write(json.dumps(value, ensure_ascii=False, indent=2) + "\n")
    sys.stdout.flush()
