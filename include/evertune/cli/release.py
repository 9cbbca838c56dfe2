"""``evertune release``: what a person may do to the release of a project."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from evertune.cli import output
from evertune.project.load import find, load
from evertune.records import Release
from evertune.settings import load as load_settings

app = typer.Typer(help="Promote a model version or go back to an earlier one.", no_args_is_help=True)


@app.command()
def promote(
    project: output.ProjectName,
    model_version: Annotated[int | None, typer.Option(help="Which; without it the one awaiting approval.")] = None,
    json: output.Json = False,
) -> None:
    """Let a model version answer from now on."""
    from evertune.loop import promote_by_hand

    where = load_settings()
    _tell(promote_by_hand(load(find(project, where)), where, by=getpass.getuser(), model_version=model_version), json)


@app.command()
def rollback(
    project: output.ProjectName,
    to: Annotated[int | None, typer.Option(help="Generation to go back to; without it the one before.")] = None,
    json: output.Json = False,
) -> None:
    """Let the model of an earlier generation answer again, as a new generation."""
    from evertune.loop import rollback as roll_back

    where = load_settings()
    _tell(roll_back(load(find(project, where)), where, by=getpass.getuser(), to=to), json)


def _tell(release: Release, json: bool) -> None:
    if json:
        output.print_json(release.model_dump(mode="json"))
    else:
        output.people.print(
            f"{release.project}: generation {release.generation} answers with model version {release.model_version}.",
            highlight=False,
        )
