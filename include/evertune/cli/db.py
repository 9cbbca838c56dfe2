"""``evertune db``: the ledger's database."""

from __future__ import annotations

import typer

from evertune.cli import output
from evertune.records import EvertuneError
from evertune.settings import load as load_settings

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
def verify(json: output.Json = False) -> None:
    """Check the chain of events: edited or deleted entries are found and named."""
    from evertune.ledger import engine, events

    ledger = engine.ready(load_settings().database_url)
    faults, head = events.verify(ledger), events.head(ledger)
    if json:
        output.print_json({"faults": faults, "head": list(head) if head else None})
    elif not faults:
        output.people.print(
            f"The chain of events is whole. Head: {head}. Keep it elsewhere to find a truncation.", highlight=False
        )
    if faults:
        if not json:
            raise EvertuneError("The chain of events was tampered with:\n" + "\n".join(faults))
        raise typer.Exit(1)
