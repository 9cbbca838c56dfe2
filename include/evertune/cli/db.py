"""``evertune db``: the ledger's database."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated

import typer

from evertune.cli import output
from evertune.records import EvertuneError
from evertune.settings import load as load_settings

if TYPE_CHECKING:
    from evertune.ledger.events import Head

app = typer.Typer(help="Upgrade and verify the ledger.", no_args_is_help=True)


@app.command()
def upgrade(json: output.Json = False) -> None:
    """Bring the ledger's tables to this version's form. Nothing else ever does."""
    from evertune.ledger import engine

    version = engine.upgrade(load_settings().database_url)
    if json:
        output.print_json({"version": version})
    else:
        output.people.print(f"The ledger is at version {version}.", highlight=False)


@app.command()
def verify(
    head: Annotated[
        str | None, typer.Option(help="What an earlier call gave as head, kept elsewhere: ID:HASH.")
    ] = None,
    json: output.Json = False,
) -> None:
    """Check the chain of events: edited or deleted entries are found and named.

    That its end was cut off, or all of it written anew, shows only against a head that was kept elsewhere.
    """
    from evertune.ledger import engine, events

    kept = _head(head) if head is not None else None
    ledger = engine.ready(load_settings().database_url)
    faults, newest = events.verify(ledger, kept), events.head(ledger)
    told = f"{newest.id}:{newest.hash}"
    if json:
        output.print_json({"faults": faults, "head": told})
    elif not faults:
        since = f", and follows event {kept.id} as it was kept" if kept else ""
        output.people.print(
            f"The chain of events is whole{since}. Keep its head elsewhere, to find by it that the end was cut off:\n"
            f"evertune db verify --head {told}", highlight=False, soft_wrap=True,
        )  # fmt: skip
    if faults:
        if not json:
            raise EvertuneError("The chain of events was tampered with:\n" + "\n".join(faults))
        raise typer.Exit(1)


def _head(text: str) -> Head:
    number, _, digest = text.partition(":")
    if not number.isdecimal() or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise typer.BadParameter(f"{text!r} is not ID:HASH, as `evertune db verify` prints it", param_hint="--head")
    from evertune.ledger.events import Head

    return Head(int(number), digest)
