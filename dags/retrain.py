"""Retrain: claim → snapshot → validate → prepare → tune → judge → promote, one DAG a project file.

## When this DAG runs
By the project's schedule (nightly unless it says otherwise), when its drift alert is emitted
(`drift_alert__<project>`), and by hand with a form. Whoever asks leaves a trigger in evertune's ledger; the first task
claims a run that answers all of them.

## What happens when two runs meet
One DAG run of a project at a time; and whatever Airflow does, the ledger lets only one run of a project be active. A
second request waits there and is answered by the next run. Where nothing has changed since the last verdict, the
tasks after `claim` are skipped.

## When a task fails
It is tried again where that can help (a service away, a worker killed): the step goes on where it was, and a training
that still runs is attached to, not started twice. Unfit data or a wrong project file fail at once with the reason.
"""

from __future__ import annotations

import re
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, task
from assets import champion, drift_alert
from tasks import AS_IN_FILE, RETRIES, DataDocs, claim, perform, tell

from evertune.project import Project
from evertune.project.load import load_all
from evertune.settings import load


def params() -> dict[str, Param]:
    """The form of a run by hand."""
    return {
        "method": Param(AS_IN_FILE, enum=[AS_IN_FILE, "full", "lora"], description="Which weights are tuned"),
        "force": Param(False, type="boolean", description="Train even where nothing has changed"),
        "reason": Param("", type="string", maxLength=500, description="Why, for the ledger"),
    }


def schedule(project: Project) -> AssetOrTimeSchedule | Asset:
    """By the clock and by the drift alert, or by the alert alone where the project has no cron expression."""
    alert = drift_alert(project.slug)
    if not project.schedule.cron:
        return alert
    clock = CronTriggerTimetable(project.schedule.cron, timezone=project.schedule.timezone)
    return AssetOrTimeSchedule(timetable=clock, assets=[alert])


def retrain(project: Project) -> DAG:
    """The DAG of one project."""
    settings: dict[str, Any] = {"owner": project.owner, **RETRIES}
    with DAG(
        f"retrain__{project.slug}", schedule=schedule(project), catchup=False, max_active_runs=1, params=params(),
        description=project.description, doc_md=__doc__, tags=["evertune", project.slug], default_args=settings,
    ) as dag:  # fmt: skip
        run_key = task(claim)(project.slug)
        steps = [
            task(perform, task_id="snapshot")("snapshot", run_key),
            task(perform, task_id="validate")("validate", run_key),
            task(perform, task_id="prepare")("prepare", run_key),
            task(perform, task_id="tune", pool="gpu")("tune", run_key),
            task(perform, task_id="judge")("judge", run_key),
            task(perform, task_id="promote", outlets=[champion(project.slug)])("promote", run_key),
        ]
        steps[1].operator.operator_extra_links = (DataDocs(),)
        for before, after in zip(steps, steps[1:], strict=False):
            before >> after
    return dag


def invalid(name: str, faults: str) -> DAG:
    """The DAG of a file that is no project: it tells what is wrong, and harms no other."""
    told = f"# {name} is not a valid project file\n\n```\n{faults}\n```\n\nMend it; `evertune validate` checks it."
    with DAG(f"retrain__{name}", schedule=None, doc_md=told, tags=["evertune", "invalid"]) as dag:
        task(tell, task_id="invalid")(faults)
    return dag


projects, faults = load_all(load())
for project in projects.values():
    retrain(project)
for file in sorted({fault.file for fault in faults}):
    invalid(re.sub(r"[^A-Za-z0-9_.-]", "-", file.stem), "\n".join(str(fault) for fault in faults if fault.file == file))
