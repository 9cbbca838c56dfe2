"""Score: every row of a file gets the champion's answer. One DAG a project file.

## When this DAG runs
Only by hand or by another DAG, with its form: a source (a path, `s3://…` or `gs://…`, Parquet, `.csv`, `.tsv` or
`.jsonl` with a column of texts) and a sink, a Parquet file in one of these places, which gets the source's rows with
label, scores and cut: nulls where a text is missing or has nothing in it to read. Other columns come back as they were:
those of Parquet with their types, those of the other formats as texts, letter by letter (`007`, `1.10`, `{"a": 1}`).

## What happens when it is cut off, or when two meet
The answers are kept in parts: a retry, or a later run of the same source, goes on after the last whole part and with
the release that it began with, also into another sink. Two runs of one source at once: the second is refused and tried
again. Whether the sink can be written is looked at first. A sink on a disk appears whole or not at all.
Where the project file is edited into an unfit one, this page tells its faults, and so does a run.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Param, task

from evertune_dags import projects
from evertune_dags.retries import RETRIES
from evertune_dags.tasks import score


def params() -> dict[str, Param]:
    """The form."""
    return {
        "source": Param("", type="string", description="Parquet, .csv, .tsv or .jsonl file with a column of texts"),
        "sink": Param("", type="string", description="Parquet file to write"),
        "column": Param(None, type=["null", "string"], description="Column with the texts; empty for the project's"),
    }


def build(slug: str, doc: str | None, tags: list[str], **settings: Any) -> DAG:
    """The DAG of one project."""
    with DAG(
        f"score__{slug}", schedule=None, max_active_runs=4, params=params(), doc_md=doc, tags=tags,
        default_args={**settings, **RETRIES},
    ) as dag:  # fmt: skip
        task(task_id="score")(score)(slug)
    return dag


files = projects.found()
for project in files.projects:
    build(project.slug, __doc__, ["evertune", project.slug], owner=project.owner)
for unfit in files.edited:
    build(unfit.name, unfit.told, unfit.tags)
