"""``evertune notify``: tell a project's webhooks what happened."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.table import Table

from evertune.cli import output
from evertune.project.load import find, load, load_all
from evertune.settings import load as load_settings


def command(
    project: Annotated[str | None, typer.Argument(help="One project; all of them without it.")] = None,
    now: Annotated[bool, typer.Option("--now", help="Try at once what failed a moment ago.")] = False,
    json: output.Json = False,
) -> None:
    """Tell the webhooks of the project files what they have not been told yet, and show how far each is.

    The DAGs do so at their ends; this is for other schedules, and to see what is wrong with an address.
    """
    from evertune.loop.notify import notify

    where = load_settings()
    valid, faults = load_all(where) if project is None else ({project: load(find(project, where))}, [])
    for fault in faults:
        output.complain(fault)
    told = {one.slug: notify(one, where, now=now) for one in valid.values()}
    if json:
        output.print_json({slug: [one.model_dump(mode="json") for one in found] for slug, found in told.items()})
        return
    table = Table(title="webhooks")
    for name in ("project", "address", "told now", "waiting", "given up", "fault"):
        table.add_column(name)
    for slug, found in told.items():
        for one in found:
            table.add_row(slug, one.webhook, str(one.sent), str(one.waiting), str(one.missed), one.fault or "")
    output.people.print(table)
