"""``evertune schema``: what a project file may say, for editors and for the reference."""

from __future__ import annotations

from typing import Annotated

import typer

from evertune.cli import output
from evertune.project.reference import json_schema, reference_markdown


def command(
    markdown: Annotated[bool, typer.Option("--markdown", help="Print the reference page for people instead.")] = False,
    json: output.Json = False,
) -> None:
    """Print the JSON Schema of a project file, for completion and checks in an editor."""
    if markdown and json:
        raise typer.BadParameter("--markdown prints no JSON: give one of the two.")
    if markdown:
        output.print_markdown(reference_markdown())
    else:
        output.print_json(json_schema())
