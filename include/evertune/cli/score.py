"""``evertune score``: every row of a file gets the release's answer."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from evertune.cli import output
from evertune.project.load import find, load
from evertune.settings import load as load_settings


def command(
    project: output.ProjectName,
    source: Annotated[str, typer.Argument(help="Parquet, .csv, .tsv or .jsonl: a path, s3://… or gs://….")],
    sink: Annotated[str, typer.Argument(help="The Parquet file to write: its rows with label, scores and cut.")],
    column: Annotated[str | None, typer.Option(help="Column with the texts; by default that of the project.")] = None,
    json: output.Json = False,
) -> None:
    """Score a file with the release that answers now. Started again after it was cut off, it goes on.

    Other columns come back as they were: those of Parquet with their types, of the other formats as texts.
    """
    from evertune.loop import score

    where = load_settings()
    loaded = load(find(project, where))
    columns = (TextColumn("scoring"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    with Progress(*columns, console=output.notes, disable=json, transient=True) as bar:
        task = bar.add_task("", total=None)
        scored = score.score(
            loaded, source, sink, where, column=column,
            report=lambda done, rows: bar.update(task, completed=done, total=rows),
        )  # fmt: skip
    if json:
        output.print_json(scored.model_dump(mode="json"))
        return
    told = f"{scored.rows:,} rows scored by generation {scored.release.generation} in {scored.seconds:.1f} s → {sink}"
    output.people.print(told, markup=False, highlight=False)
