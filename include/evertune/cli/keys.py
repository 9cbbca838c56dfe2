"""``evertune keys``: who may call the API."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from evertune.cli import output, user
from evertune.project.load import slugs
from evertune.records import EvertuneError
from evertune.settings import Settings
from evertune.settings import load as load_settings

if TYPE_CHECKING:
    from evertune.ledger.keys import Key

app = typer.Typer(help="Make, list and revoke the API's keys.", no_args_is_help=True)
UNITS = {"h": timedelta(hours=1), "d": timedelta(days=1), "w": timedelta(weeks=1)}


@app.command()
def create(  # noqa: PLR0917 - the options of one command
    name: Annotated[str, typer.Argument(help="Who uses the key, in your own words.")],
    project: Annotated[list[str], typer.Option(help="A project it is for; several times, or '*' for every one.")],
    scope: Annotated[
        list[str] | None,
        typer.Option(help="predict, feedback or admin; several times. Each lets read too. Without it the first two."),
    ] = None,
    expires: Annotated[str, typer.Option(help="Hours, days or weeks it works: 12h, 90d, 4w; or never.")] = "90d",
    rate: Annotated[
        float | None, typer.Option(help="Requests a second; without it the server's default.", min=0.001)
    ] = None,
    json: output.Json = False,
) -> None:
    """Make a key and show it, this once."""
    from evertune.ledger import engine, keys

    where = load_settings()
    _warn_of_unknown(project, where)
    made, shown = keys.create(
        engine.ready(where.database_url),
        name=name,
        projects=project,
        scopes=scope or ["predict", "feedback"],
        expires=_moment(expires),
        rate_per_s=rate,
        by=user.name(),
    )
    if json:
        output.print_json({**_public(made), "key": shown})
        return
    output.people.print(shown, markup=False, highlight=False, soft_wrap=True)
    output.notes.print(f"Keep it now: it is not shown again. `evertune keys revoke {made.id}` ends it.", markup=False)


@app.command(name="list")
def list_(json: output.Json = False) -> None:
    """Show all keys, without their secrets."""
    from evertune.ledger import engine, keys

    found = keys.all(engine.ready(load_settings().database_url))
    if json:
        output.print_json({"keys": [_public(key) for key in found]})
        return
    table = Table(title="keys of the API")
    for column in ("id", "name", "projects", "scopes", "rate/s", "state"):
        table.add_column(column)
    for key in found:
        rate = "default" if key.rate_per_s is None else f"{key.rate_per_s:g}"
        table.add_row(key.id, escape(key.name), ", ".join(key.projects), ", ".join(key.scopes), rate, _state(key))
    output.people.print(table)


@app.command()
def revoke(
    key: Annotated[str, typer.Argument(help="The key's id, as `evertune keys list` shows it.")],
    json: output.Json = False,
) -> None:
    """End a key: running servers refuse it within a minute."""
    from evertune.ledger import engine, keys

    revoked = keys.revoke(engine.ready(load_settings().database_url), key, by=user.name())
    if json:
        output.print_json(_public(revoked))
    else:
        output.people.print(f"{revoked.id} is revoked: servers refuse it within a minute.", highlight=False)


def _warn_of_unknown(projects: list[str], where: Settings) -> None:
    """Say which have no file here: the server may know others, but most likely the name is mistyped."""
    for unknown in sorted({*projects} - {*slugs(where).values(), "*"}):
        output.complain(f"No project file in {where.projects} is of {unknown!r}; the key is made nevertheless.")


def _moment(expires: str) -> datetime | None:
    if expires == "never":
        return None
    found = re.fullmatch(r"([1-9][0-9]{0,4})([hdw])", expires)
    if found is None:
        raise EvertuneError(f"{expires!r} is no time that a key could work: give 12h, 90d, 4w or never.")
    return datetime.now(UTC) + int(found[1]) * UNITS[found[2]]


def _state(key: Key) -> str:
    if key.revoked is not None:
        return f"revoked {key.revoked:%Y-%m-%d}"
    if key.expires is None:
        return "never expires"
    return f"{'expired' if key.expires <= datetime.now(UTC) else 'expires'} {key.expires:%Y-%m-%d}"


def _public(key: Key) -> dict[str, object]:
    return {**key.model_dump(mode="json", exclude={"hash"}), "state": _state(key)}
