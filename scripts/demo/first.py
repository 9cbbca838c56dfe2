"""The first part of the demo: a real model is fine-tuned, judged and promoted through Airflow, and answers.

Run again it starts nothing twice: what is up stays up, and a project in which nothing has changed ends as `unchanged`.
"""

from __future__ import annotations

import time

from rich.table import Table

from evertune import loop
from evertune.cli import report
from evertune.cli.output import people
from evertune.client import Client, ProblemError
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs
from evertune.project.load import find, load
from evertune.records import EvertuneError, Outcome
from scripts import embedded
from scripts.airflow_api import Airflow
from scripts.demo.follow import POLL_S, DagRun, check_ended_well, follow
from scripts.installation import Embedded

PROJECT = "review-sentiment"
ANSWER_S = 300.0
EXAMPLES = ["The picture is sharp and the battery lasts for days.", "It broke within a week, and nobody answers."]


def first_release(here: Embedded, airflow: Airflow) -> tuple[Outcome, DagRun]:
    """Do a pass of the loop by hand and wait until its release answers; what came of it is shown."""
    dag_id = f"retrain__{PROJECT}"
    airflow.await_dag(dag_id)
    run = DagRun(dag_id, airflow.trigger(dag_id, {"reason": "make demo"}))
    follow(airflow, run, here, PROJECT)
    check_ended_well(airflow, run, here)
    engine = ledger_engine.ready(here.settings.database_url)
    history = runs.history(engine, PROJECT, limit=1)
    if not history:
        raise EvertuneError(f"The run {run.run_id} has left nothing in the ledger. Is EVERTUNE_DATABASE_URL another?")
    outcome = loop.outcome(engine, history[0].key, load(find(PROJECT, here.settings)))
    people.print()
    report.show(outcome, people)
    if outcome.release is not None:
        await_generation(here, outcome.release.generation)
        _ask(here, outcome.release.generation)
    return outcome, run


def await_generation(here: Embedded, generation: int) -> None:
    """Wait until the server answers with this release or a newer one."""
    deadline = time.monotonic() + ANSWER_S
    with (
        Client(here.serving_url, embedded.api_key(here)) as client,
        people.status(f"Converting release {generation} for serving …"),
    ):
        while not _answers(client, generation):
            if time.monotonic() > deadline:
                raise EvertuneError(
                    f"The server at {here.serving_url} does not answer with generation {generation}. "
                    f"`evertune status` tells why; its log: {here.folder}/logs/evertune-serve.log"
                )
            time.sleep(POLL_S)


def _answers(client: Client, generation: int) -> bool:
    try:
        release = client.project(PROJECT).release
    except ProblemError:  # the project is not known there yet
        return False
    return release is not None and release.generation >= generation


def _ask(here: Embedded, generation: int) -> None:
    """Ask the server two things, and show what came back."""
    with Client(here.serving_url, embedded.api_key(here)) as client:
        found = client.predict(PROJECT, EXAMPLES)
    table = Table(title=f"POST {here.serving_url}/v1/projects/{PROJECT}/predict, generation {generation}")
    for name in ("text", "label", "probability", "prediction id"):
        table.add_column(name, overflow="fold")  # an id that is cut off is of no use
    for text, one in zip(EXAMPLES, found.predictions, strict=True):
        table.add_row(text, one.label, f"{one.scores[one.label]:.3f}", one.id)
    people.print(table)
