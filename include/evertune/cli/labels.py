"""``evertune labels``: what people should label goes out as JSON Lines, and labels come in."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from evertune.cli import output, user
from evertune.project.load import find, load
from evertune.settings import load as load_settings

app = typer.Typer(help="Export answers to label, and import labels.", no_args_is_help=True)


class From(StrEnum):
    """Who gave the labels of a file."""

    EXPERT = "expert"
    IMPORT = "import"


@app.command()
def export(
    project: output.ProjectName,
    file: Annotated[Path, typer.Argument(help="The JSON Lines file to write.")],
    json: output.Json = False,
) -> None:
    """Write the answers that are most worth labelling, a line each, with an empty label to fill in."""
    from evertune.loop import label_files

    where = load_settings()
    loaded = load(find(project, where))
    rows = label_files.export(loaded, where, file)
    if json:
        output.print_json({"file": str(file), "rows": rows})
        return
    told = f"{rows:,} answers → {file}. Fill in each label, then: evertune labels import {loaded.slug} {file}"
    output.people.print(told, markup=False, highlight=False, soft_wrap=True)


@app.command(name="import")
def import_(
    project: output.ProjectName,
    file: Annotated[Path, typer.Argument(help="A JSON Lines file with id, label, pick and, if known, annotator.")],
    origin: Annotated[
        From, typer.Option(help="expert: people labelled what was exported; import: the labels come from elsewhere.")
    ] = From.IMPORT,
    annotator: Annotated[
        str | None, typer.Option(help="Who gave the labels that name nobody; by default you. Only a hash is kept.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Keep the labels of a file: all of them, or none where a line is wrong."""
    from evertune.loop import label_files

    where = load_settings()
    loaded = load(find(project, where))
    found = label_files.load(loaded, where, file, origin.value, annotator or user.name())
    if json:
        output.print_json(found._asdict())
        return
    told = f"{found.kept:,} labels kept"
    told += f"; {found.unlabelled:,} lines have no label yet" if found.unlabelled else ""
    output.people.print(told, markup=False, highlight=False)
