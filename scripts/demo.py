"""The demo: a real model is fine-tuned, judged and promoted through Airflow's scheduler, and shown.

`make demo` ends here. Run again it starts nothing twice: what is up stays up, and a project in which nothing has
changed ends as `unchanged`.
"""

from __future__ import annotations

import sys
import time

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from evertune import jobs, loop
from evertune.cli import report
from evertune.cli.output import people
from evertune.client import Client, ProblemError
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs
from evertune.loop.run import describe, share
from evertune.project.load import find, load
from evertune.records import EvertuneError, Step
from scripts import embedded
from scripts.airflow_api import RUNNING, Airflow
from scripts.installation import USER, Embedded

PROJECT = "review-sentiment"
POLL_S = 0.5
ANSWER_S = 300.0
EXAMPLES = ["The picture is sharp and the battery lasts for days.", "It broke within a week, and nobody answers."]


def main() -> int:
    """Status 0 when the run has a recorded verdict and a champion exists."""
    started = time.monotonic()
    try:
        here = embedded.up()
        airflow = Airflow(here.airflow_url, USER, here.password)
        dag_id = f"retrain__{PROJECT}"
        airflow.await_dag(dag_id)
        run_id = airflow.trigger(dag_id, {"reason": "make demo"})
        _follow(airflow, dag_id, run_id, here)
        return _show(here, airflow, dag_id, run_id, time.monotonic() - started)
    except EvertuneError as fault:
        people.print(str(fault), style="red", markup=False, highlight=False)
        return fault.exit_code
    except KeyboardInterrupt:
        people.print("Interrupted. The run goes on in Airflow; `make demo` shows it again, `make down` stops all.")
        return 130


def _follow(airflow: Airflow, dag_id: str, run_id: str, here: Embedded) -> None:
    """A progress bar with the step that runs now, until the DAG run has ended."""
    names = [step.value for step in Step]
    told = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}")
    with Progress(SpinnerColumn(), *told, TimeElapsedColumn(), console=people) as bar:
        task = bar.add_task("waiting for the scheduler", total=len(names), detail="")
        shown = ""
        while airflow.run_state(dag_id, run_id) in RUNNING:
            states = {name: (found or {}).get("state") for name, found in airflow.tasks(dag_id, run_id).items()}
            now = next((name for name in names if states.get(name) not in ("success", "skipped")), names[-1])
            detail = _training(here) if now == Step.TUNE else {}
            if now != shown:
                bar.console.print(f"  {names.index(now) + 1}/{len(names)} {now}", highlight=False)
                shown = now
            bar.update(task, completed=names.index(now) + share(detail), description=now, detail=describe(detail))
            time.sleep(POLL_S)
        bar.update(task, completed=len(names), description="done", detail="")


def _training(here: Embedded) -> dict[str, object]:
    active = runs.active(ledger_engine.ready(here.settings.database_url), PROJECT)
    return jobs.progress(here.settings, active.key) if active else {}


def _show(here: Embedded, airflow: Airflow, dag_id: str, run_id: str, seconds: float) -> int:
    engine = ledger_engine.ready(here.settings.database_url)
    state = airflow.run_state(dag_id, run_id)
    history = runs.history(engine, PROJECT, limit=1)
    if state != "success" or not history:
        failed = [name for name, found in airflow.tasks(dag_id, run_id).items() if found["state"] == "failed"]
        told = history[0].message if history and history[0].message else "The ledger has no reason."
        raise EvertuneError(
            f"The DAG run {run_id} ended as {state}; failed: {', '.join(failed) or 'none'}. {told}\n"
            f"Its log: {here.airflow_url}/dags/{dag_id}/runs/{run_id}, files under {here.settings.home}/airflow/logs/"
        )
    outcome = loop.outcome(engine, history[0].key, load(find(PROJECT, here.settings)))
    people.print()
    report.show(outcome, people)
    if outcome.release is not None:
        _ask(here, outcome.release.generation)
    people.print(f"\nTook {seconds:.0f} s. Left running on this machine only (`make down` stops it):", highlight=False)
    for what, where in embedded.addresses(here):
        people.print(f"  {what:14} {where}", highlight=False)
    people.print(f"  {'this run':14} {here.airflow_url}/dags/{dag_id}/runs/{run_id}", highlight=False, soft_wrap=True)
    return 0 if outcome.verdict is not None and outcome.release is not None else 1


def _ask(here: Embedded, generation: int) -> None:
    """Wait until the release answers over HTTP, ask it two things, and show what came back."""
    deadline = time.monotonic() + ANSWER_S
    with (
        Client(here.serving_url, embedded.api_key(here)) as client,
        people.status("Converting the release for serving …"),
    ):
        while not _answers(client, generation):
            if time.monotonic() > deadline:
                raise EvertuneError(
                    f"The server at {here.serving_url} does not answer with generation {generation}. "
                    f"`evertune status` tells why; its log: {here.folder}/logs/evertune-serve.log"
                )
            time.sleep(POLL_S)
        found = client.predict(PROJECT, EXAMPLES)
    table = Table(title=f"POST {here.serving_url}/v1/projects/{PROJECT}/predict, generation {found.release.generation}")
    for name in ("text", "label", "probability", "prediction id"):
        table.add_column(name, overflow="fold")  # an id that is cut off is of no use
    for text, one in zip(EXAMPLES, found.predictions, strict=True):
        table.add_row(text, one.label, f"{one.scores[one.label]:.3f}", one.id)
    people.print(table)


def _answers(client: Client, generation: int) -> bool:
    try:
        release = client.project(PROJECT).release
    except ProblemError:  # the project is not known there yet
        return False
    return release is not None and release.generation >= generation


if __name__ == "__main__":
    sys.exit(main())
