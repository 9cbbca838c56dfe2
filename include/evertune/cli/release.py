"""``evertune release``: what a person may do to the release of a project, its file fit or not."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.markup import escape
from rich.table import Table

from evertune.cli import output, user
from evertune.project.load import slug_of
from evertune.records import Release
from evertune.settings import Settings
from evertune.settings import load as load_settings

app = typer.Typer(help="Promote or refuse a model version, or go back to an earlier one.", no_args_is_help=True)
Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]

Expected = Annotated[
    int | None,
    typer.Option(
        min=0, metavar="GENERATION",
        help="The one that you saw answer (0: none): where another does by now, nothing is changed.",
    ),
]  # fmt: skip


@app.command()
def promote(
    project: output.ProjectName,
    model_version: Annotated[int | None, typer.Option(help="Which; without it the one awaiting approval.")] = None,
    expected: Expected = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Let a model version answer from now on."""
    from evertune.loop import promote_by_hand

    where = load_settings()
    slug, by = slug_of(project, where), user.name()
    done = promote_by_hand(slug, where, by=by, model_version=model_version, expected=expected, reason=reason)
    _tell(done, where, json)


@app.command()
def refuse(
    project: output.ProjectName,
    reason: Annotated[str, typer.Option(help="Why; also stands at the model version in MLflow.")],
    json: output.Json = False,
) -> None:
    """Say no to the model that awaits approval: what answers now goes on, and the model stays with the reason."""
    from evertune.loop import refuse as say_no

    where = load_settings()
    run_key = say_no(slug_of(project, where), where, by=user.name(), reason=reason)
    if json:
        output.print_json({"refused": run_key, "reason": reason})
    else:
        output.people.print(f"The model of {run_key} is refused.", highlight=False, soft_wrap=True)


@app.command()
def rollback(
    project: output.ProjectName,
    to: Annotated[int | None, typer.Option(help="Generation to go back to; without it the one before.")] = None,
    expected: Expected = None,
    reason: Reason = "",
    json: output.Json = False,
) -> None:
    """Let the model of an earlier generation answer again, as a new generation.

    Where somebody else has gone back already, a rollback to the one before wants --expected.
    """
    from evertune.loop import rollback as roll_back

    where = load_settings()
    slug = slug_of(project, where)
    done = roll_back(slug, where, by=user.name(), to=to, expected=expected, reason=reason)
    _tell(done, where, json)


@app.command("list")
def history(project: output.ProjectName, json: output.Json = False) -> None:
    """List the releases, newest first: which model version answered, who let it and why."""
    from evertune.ledger import engine, releases

    where = load_settings()
    slug = slug_of(project, where)
    found = releases.history(engine.ready(where.database_url), slug)
    if json:
        output.print_json({"releases": [one.model_dump(mode="json") for one in found]})
        return
    if not found:
        output.people.print(
            f"{slug} has no release yet: the first model that its gate promotes is one. Run: evertune run {project}",
            markup=False, highlight=False, soft_wrap=True,
        )  # fmt: skip
        return
    table = Table()
    for name in ("generation", "model version", "since", "how", "by", "why"):
        table.add_column(name)
    for one in found:
        since = one.created.isoformat(sep=" ", timespec="minutes")
        table.add_row(
            str(one.generation), str(one.model_version), since, one.kind, escape(one.approved_by), escape(one.reason)
        )
    output.people.print(table)


def _tell(release: Release, where: Settings, json: bool) -> None:
    from evertune.ledger import engine, releases

    if json:
        output.print_json(release.model_dump(mode="json"))
        return
    past = releases.history(engine.ready(where.database_url), release.project)
    before = next((one for one in past if one.generation == release.generation - 1), None)
    instead = f", in place of {before.model_version} (generation {before.generation})" if before else ""
    output.people.print(
        f"{release.project}: generation {release.generation} answers with model version {release.model_version}"
        f"{instead}.",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
