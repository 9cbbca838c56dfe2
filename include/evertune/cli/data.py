"""``evertune data``: the versions of the data."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from evertune.cli import output
from evertune.project.load import Fault, ProjectError, find, load, load_all
from evertune.project.options import SLUG
from evertune.records import EvertuneError, UnfitError
from evertune.settings import load as load_settings

app = typer.Typer(help="Restore or pin versions of the data.", no_args_is_help=True)


@app.command()
def checkout(
    project: Annotated[
        str, typer.Argument(help="Its slug, which need not have a file any more, or a path to its file.")
    ],
    model_version: Annotated[int, typer.Option(help="The model version whose data are wanted.")],
    to: Annotated[Path | None, typer.Option(help="An empty or new folder; PROJECT-vN here without it.")] = None,
    json: output.Json = False,
) -> None:
    """Restore the very bytes that a model version was trained and judged on."""
    from evertune.loop.data import checkout as restore

    where = load_settings()
    slug = project if re.fullmatch(SLUG, project) else load(find(project, where)).slug
    folder = restore(slug, where, model_version, to or Path(f"{slug}-v{model_version}"))
    if json:
        output.print_json({"folder": str(folder)})
    else:
        output.people.print(f"Restored to {folder}", highlight=False, soft_wrap=True)


@app.command()
def pin(
    project: Annotated[str | None, typer.Argument(help="One project.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every project of the projects folder.")] = False,
    json: output.Json = False,
) -> None:
    """Write the inputs of the root `dvc.yaml`, for a person who wants plain `dvc repro` there.

    Stages and parameters of a person's own are never replaced: where there are some, nothing is written and the exit
    status is 2. With `--all`, files with faults are told and left out, and the exit status is then 2.
    """
    from evertune.data import versions

    where = load_settings()
    if everything == (project is not None):
        raise EvertuneError("Say which project, or --all.")
    faults: list[Fault] = []
    if everything:
        projects, faults = load_all(where)
    else:
        found = load(find(str(project), where))
        projects = {found.slug: found}
    if not projects:
        nothing = f"There are no project files in {where.projects}: `evertune init NAME` makes one."
        raise ProjectError(faults) if faults else UnfitError(nothing)
    written = [str(path) for path in versions.pin_all(where, Path.cwd(), projects)]
    told = [str(fault) for fault in faults]
    if json:
        output.print_json({"written": written, "faults": told})
    else:
        output.people.print("Now: dvc repro", highlight=False)
        for fault in told:
            output.complain(fault)
    if faults:
        raise typer.Exit(UnfitError.exit_code)
