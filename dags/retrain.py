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

import hashlib
import os
import re
from collections.abc import Container, Sequence
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, Asset, AssetOrTimeSchedule, CronTriggerTimetable, Param, chain, literal, task

from evertune.project import Project
from evertune.project.load import intended_slug, load_all
from evertune.project.slugs import is_slug
from evertune.settings import load
from evertune_dags.assets import champion, drift_alert
from evertune_dags.notices import FailedTask, last
from evertune_dags.retries import RETRIES
from evertune_dags.tasks import AS_IN_FILE, DataDocs, claim, perform, tell

LONGEST = 200
"""Characters of a name that are taken from a file's. A DAG's id may have 250, a folder that is called by it 255."""


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


def invalid(name: str, faults: str) -> DAG:
    """The DAG of a file that is no project: its first task fails with what is wrong, and it harms no other.

    It has the tasks of a project's: Airflow takes out of a run what its DAG no longer has, and a run that was under way
    when the file was edited goes on with the project that it holds.
    """
    told = f"# The project file of {name} is not valid\n\n```\n{faults}\n```\n\nMend it; `evertune validate` checks it."
    ran = is_slug(name)  # perhaps: a project was never called otherwise
    settings = RETRIES | ({"on_failure_callback": FailedTask(name)} if ran else {})
    with DAG(
        f"retrain__{name}", schedule=None, max_active_runs=1, params=params(), doc_md=told,
        tags=["evertune", "invalid"], default_args=settings,
    ) as dag:  # fmt: skip
        # The faults quote the file, which is no template of Airflow's.
        _steps(name, _task("claim", tell)(literal(faults)), [champion(name)] if ran else [])
    return dag


def name_of(file: Path, slug: str | None, taken: Container[str]) -> str:
    """What the DAG of an unfit file is called: by its slug, else as the file, but never as another DAG.

    That one it would replace. No slug has a dot, so a name with the file's ending, or a digest behind a dot, is no
    project's.
    """
    stem, whole = (re.sub(r"[^A-Za-z0-9_.-]", "-", name) for name in (file.stem, file.name))
    for name in (slug or stem, whole):
        if name not in taken and len(name) <= LONGEST:
            return name
    return f"{stem[:LONGEST]}.{hashlib.sha256(os.fsencode(file.name)).hexdigest()[:16]}"


projects, faults = load_all(load())
for project in projects.values():
    retrain(project)
names = set(projects)
slugs = {file: intended_slug(file) for file in sorted({fault.file for fault in faults})}
# A name goes to the file that says it, first to the one that is called so too; last to those that are only called so.
for file in sorted(slugs, key=lambda file: (slugs[file] is None, slugs[file] != file.stem)):
    names.add(name := name_of(file, slugs[file], names))
    invalid(name, "\n".join(str(fault) for fault in faults if fault.file == file))
