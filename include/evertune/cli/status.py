"""``evertune status``: where each project stands; sets MLflow's alias right where it says something else."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from evertune.cli import output
from evertune.project.load import Fault, find, load, load_all
from evertune.records import Release
from evertune.settings import load as load_settings

if TYPE_CHECKING:
    from evertune.ledger.servers import Server


def command(
    project: Annotated[str | None, typer.Argument(help="One project; all of them without it.")] = None,
    json: output.Json = False,
) -> None:
    """Show each project's release, its last run and what runs now; mend what the registry says wrong."""
    from evertune.loop.status import status

    where = load_settings()
    faults: list[Fault] = []
    if project is not None:
        projects = [load(find(project, where))]
    else:
        valid, faults = load_all(where)
        projects = list(valid.values())
    found = [status(one, where) for one in projects]
    if json:
        output.print_json(
            {"projects": [one.model_dump(mode="json") for one in found], "faults": [str(fault) for fault in faults]}
        )
        return
    table = Table(title="evertune")
    for name in ("project", "answers", "last run", "verdict", "now"):
        table.add_column(name, overflow="fold")  # a key that is cut off cannot be looked for
    for one in found:
        answers = _answers(one.release) if one.release else "nothing yet"
        now = f"{one.active.key} ({one.active.owner})" if one.active else ""
        now = now or (f"{one.awaiting_approval} awaits approval" if one.awaiting_approval else "idle")
        table.add_row(one.project, answers, one.last_run or "none", one.last_error or one.last_verdict or "", now)
    output.people.print(table)
    for one in found:
        asked = f"the next run is asked for: {'; '.join(one.asked)}" if one.asked else ""
        held = f"the retrain that an alert asked for is not begun yet: {one.held_back}" if one.held_back else ""
        for told in (asked, held, one.mended, one.fault, *map(_told, one.servers)):
            if told:
                output.people.print(f"{one.project}: {told}", markup=False, highlight=False, soft_wrap=True)
    for fault in faults:
        output.complain(fault)


def _answers(release: Release) -> str:
    """Which release answers and, where a person let it, who and why."""
    told = f"generation {release.generation} (version {release.model_version})"
    if release.approved_by == "gate":
        return told
    return escape(
        f"{told}\n{release.kind} by {release.approved_by}" + (f": {release.reason}" if release.reason else "")
    )


def _told(server: Server) -> str:
    """What a server says, where it is not simply that the release answers."""
    if server.refused_generation is not None:
        stays = f"generation {server.generation} goes on" if server.generation else "nothing answers"
        return f"server {server.server} refuses generation {server.refused_generation}, {stays}: {server.reason}"
    return ""
