"""``evertune init``: a new project file, valid from the first second."""

from __future__ import annotations

from typing import Annotated

import typer

from evertune.cli import output
from evertune.project.template import new_file
from evertune.settings import load as load_settings


def command(
    name: Annotated[str, typer.Argument(help="Name of the project: lower-case letters, digits and hyphens.")],
    json: output.Json = False,
) -> None:
    """Write a commented, valid project file into the projects folder."""
    path = new_file(name, load_settings())
    if json:
        output.print_json({"project": name, "file": str(path)})
        return
    sentence = f"{path} is written. Tell it your data under `data`, then: evertune validate, evertune run {name}."
    output.people.print(sentence, markup=False, highlight=False, soft_wrap=True)
