"""Monitor: window → report → decide → wake, one DAG a project file.

## When this DAG runs
Every quarter of an hour, unless the project says otherwise (`monitoring.cron`, in UTC; `""` for never), and by hand.
`window` cuts the traffic log into windows, all that are due: nothing is lost where the DAG was paused or Airflow away.
`report` tests each window against what its release knows, with a report by Evidently. `decide` lets the policy rule on
the open alert. `wake` emits the project's drift alert, which starts `retrain__<project>`; it is skipped where there is
nothing to wake anybody for. `notify` tells the project's webhooks what they have not been told yet, by whatever DAG.

## What happens when two runs meet
One DAG run of a project at a time; and whatever Airflow does, each answer is in one window, each window is tested once,
an alert asks for one retrain. The request is a row in evertune's ledger: the asset event only wakes. One that got lost
is made up for by the next run of this DAG, one that came twice finds nothing to do.

## When a task fails
It is tried again, and goes on where it was. A file of the log that is gone or torn is passed over and told in the log
of `window`; where all of the log is away, the task fails and nothing is passed over.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, chain, task

from evertune.project import Project
from evertune.project.load import load_all
from evertune.settings import load
from evertune_dags.assets import drift_alert
from evertune_dags.notices import FailedTask, last
from evertune_dags.retries import RETRIES
from evertune_dags.tasks import DriftReport, check_windows, cut_windows, decide, wake


def build(project: Project) -> DAG:
    """The DAG of one project."""
    cron = project.monitoring.cron
    settings: dict[str, Any] = {"owner": project.owner, "on_failure_callback": FailedTask(project.slug), **RETRIES}
    with DAG(
        f"monitor__{project.slug}", schedule=CronTriggerTimetable(cron, timezone="UTC") if cron else None,
        catchup=False, max_active_runs=1, doc_md=__doc__, tags=["evertune", project.slug], default_args=settings,
    ) as dag:  # fmt: skip
        steps = [
            task(task_id="window")(cut_windows)(project.slug),
            task(task_id="report")(check_windows)(project.slug),
            task(task_id="decide")(decide)(project.slug),
            task(task_id="wake", outlets=[drift_alert(project.slug)])(wake)(project.slug),
        ]
        steps[1].operator.operator_extra_links = (DriftReport(),)
        chain(*steps, last(project.slug))
    return dag


for project in load_all(load())[0].values():
    build(project)
