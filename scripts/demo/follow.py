"""A run of `retrain__<project>`, followed until it ends: a progress bar with the step that runs now."""

from __future__ import annotations

import time
from typing import NamedTuple

from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from evertune import jobs
from evertune.cli.output import people
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs
from evertune.loop.run import describe, share
from evertune.records import EvertuneError, Step
from scripts.airflow_api import RUNNING, Airflow
from scripts.installation import Embedded

POLL_S = 0.5


class DagRun(NamedTuple):
    """One run of a DAG in the embedded Airflow."""

    dag_id: str
    run_id: str


def follow(airflow: Airflow, run: DagRun, here: Embedded, slug: str) -> None:
    """Show how far it is until it has ended, however it ends."""
    names = [step.value for step in Step]
    told = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[detail]}")
    with Progress(SpinnerColumn(), *told, TimeElapsedColumn(), console=people) as bar:
        task = bar.add_task("waiting for the scheduler", total=len(names), detail="")
        shown = ""
        while airflow.run_state(*run) in RUNNING:
            states = {name: (found or {}).get("state") for name, found in airflow.tasks(*run).items()}
            now = next((name for name in names if states.get(name) not in ("success", "skipped")), names[-1])
            detail = _training(here, slug) if now == Step.TUNE else {}
            if now != shown:
                bar.console.print(f"  {names.index(now) + 1}/{len(names)} {now}", highlight=False)
                shown = now
            bar.update(task, completed=names.index(now) + share(detail), description=now, detail=describe(detail))
            time.sleep(POLL_S)
        bar.update(task, completed=len(names), description="done", detail="")


def _training(here: Embedded, slug: str) -> dict[str, object]:
    active = runs.active(ledger_engine.ready(here.settings.database_url), slug)
    return jobs.progress(here.settings, active.key) if active else {}


def check_ended_well(airflow: Airflow, run: DagRun, here: Embedded) -> None:
    """Raise :class:`EvertuneError` with what failed, and where its log is."""
    state = airflow.run_state(*run)
    if state == "success":
        return
    failed = [name for name, found in airflow.tasks(*run).items() if found["state"] == "failed"]
    raise EvertuneError(
        f"The run {run.run_id} of {run.dag_id} ended as {state}; failed: {', '.join(failed) or 'none'}.\n"
        f"Its log: {address(here, run)}, files under {here.settings.home}/airflow/logs/"
    )


def address(here: Embedded, run: DagRun) -> str:
    """Where Airflow's web UI shows it."""
    return f"{here.airflow_url}/dags/{run.dag_id}/runs/{run.run_id}"
