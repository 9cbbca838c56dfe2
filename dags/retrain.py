"""Retrain: claim → snapshot → validate → prepare → tune → judge → promote, one DAG a project file.

## When this DAG runs
By the project's schedule (nightly unless it says otherwise), when its drift alert is emitted
(`drift_alert__<project>`), and by hand with a form. Whoever asks leaves a trigger in evertune's ledger; the first task
claims a run that answers all of them. The monitor's alert has left its trigger before it is emitted, so that a lost,
doubled or late event changes nothing; one that a person emits, in the interface or by REST, is that person's request.

## What happens when two runs meet
One DAG run of a project at a time; and whatever Airflow does, the ledger lets only one run of a project be active. A
second request waits there and is answered by the next run. Where nothing has changed since the last verdict, the
tasks after `claim` are skipped. Where the verdict is no, or a person must say yes first, `promote` ends as skipped:
`champion__<project>` tells of new releases only.

## When a task fails
It is tried again where that can help (a service away, a worker killed): the step goes on where it was, and a training
that still runs is attached to, not started twice. What a person must mend first (unfit data, a wrong
login, a full disk, a mistake in code) fails at once with the reason.
Where the project file is edited into an unfit one, this page tells its faults and a new run fails at `claim` with them;
one that is under way goes on with the project as it was.
Whatever happened, `notify` tells the project's webhooks at the end.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain, literal, task

from evertune.project import Project
from evertune_dags import projects
from evertune_dags.assets import champion, drift_alert
from evertune_dags.buttons import DataDocs
from evertune_dags.notices import FailedTask, last
from evertune_dags.retries import RETRIES
from evertune_dags.tasks import AS_IN_FILE, claim, perform, tell


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


def _task(task_id: str, function: Any, **options: Any) -> Any:
    return task(task_id=task_id, **options)(function)


def _steps(slug: str, run_key: Any, outlets: Sequence[Asset]) -> None:
    """What follows the claim, the same in every DAG of this file."""
    steps = [
        _task("snapshot", perform)("snapshot", run_key),
        _task("validate", perform)("validate", run_key),
        _task("prepare", perform)("prepare", run_key),
        _task("tune", perform, pool="gpu")("tune", run_key),
        _task("judge", perform)("judge", run_key),
        _task("promote", perform, outlets=outlets)("promote", run_key),
    ]
    steps[1].operator.operator_extra_links = (DataDocs(),)
    chain(*steps, last(slug))


def retrain(project: Project) -> DAG:
    """The DAG of one project."""
    settings: dict[str, Any] = {"owner": project.owner, "on_failure_callback": FailedTask(project.slug), **RETRIES}
    with DAG(
        f"retrain__{project.slug}", schedule=schedule(project), catchup=False, max_active_runs=1, params=params(),
        description=project.description, doc_md=__doc__, tags=["evertune", project.slug], default_args=settings,
    ) as dag:  # fmt: skip
        _steps(project.slug, _task("claim", claim)(project.slug), [champion(project.slug)])
    return dag


def invalid(unfit: projects.Unfit) -> DAG:
    """The DAG of a file that is no project: its first task fails with what is wrong, and it harms no other.

    It has the tasks of a project's: Airflow takes out of a run what its DAG no longer has, and a run that was under way
    when the file was edited goes on with the project that it holds.
    """
    settings = RETRIES | ({"on_failure_callback": FailedTask(unfit.name)} if unfit.was_one else {})
    with DAG(
        f"retrain__{unfit.name}", schedule=None, max_active_runs=1, params=params(), doc_md=unfit.told,
        tags=unfit.tags, default_args=settings,
    ) as dag:  # fmt: skip
        # The faults quote the file, which is no template of Airflow's.
        claiming = _task("claim", tell)(literal(unfit.faults))
        _steps(unfit.name, claiming, [champion(unfit.name)] if unfit.was_one else [])
    return dag


files = projects.found()
for project in files.projects:
    retrain(project)
for unfit in files.unfit:  # also one that never was a project: somewhere its faults must stand
    invalid(unfit)
