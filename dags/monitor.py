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
Where the project file is edited into an unfit one, this page tells its faults and the clock stands still; what came in
meanwhile is looked at once the file is mended.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, CronTriggerTimetable, chain, task

from evertune_dags import projects
from evertune_dags.assets import drift_alert
from evertune_dags.buttons import DriftReport
from evertune_dags.notices import FailedTask, last
from evertune_dags.retries import RETRIES
from evertune_dags.tasks import check_windows, cut_windows, decide, wake


def build(slug: str, cron: str, doc: str | None, tags: list[str], **settings: Any) -> DAG:
    """The DAG of one project; while its file is unfit, `window` fails with what is wrong with it."""
    with DAG(
        f"monitor__{slug}", schedule=CronTriggerTimetable(cron, timezone="UTC") if cron else None,
        catchup=False, max_active_runs=1, doc_md=doc, tags=tags,
        default_args={**settings, "on_failure_callback": FailedTask(slug), **RETRIES},
    ) as dag:  # fmt: skip
        steps = [
            task(task_id="window")(cut_windows)(slug),
            task(task_id="report")(check_windows)(slug),
            task(task_id="decide")(decide)(slug),
            task(task_id="wake", outlets=[drift_alert(slug)])(wake)(slug),
        ]
        steps[1].operator.operator_extra_links = (DriftReport(),)
        chain(*steps, last(slug))
    return dag


files = projects.found()
for project in files.projects:
    build(project.slug, project.monitoring.cron, __doc__, ["evertune", project.slug], owner=project.owner)
for unfit in files.edited:
    build(unfit.name, "", unfit.told, unfit.tags)
