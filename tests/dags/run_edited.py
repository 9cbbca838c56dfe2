"""Begins a run of a DAG, edits a project file in between, and prints the tasks' states as JSON.

What is scheduled Airflow's own scheduler says; before each look the DAGs are parsed and stored, as the DAG processor
does. A process of its own, because Airflow reads its configuration when it is imported. Arguments: the DAG's id, the
task after which the file is edited, the file, and what is in it from then on.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dagrun import DagRun, get_or_create_dagrun
from airflow.sdk import DAG, timezone
from airflow.sdk.definitions.dag import _run_task
from airflow.serialization.serialized_objects import DagSerialization
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType

dag_id, last, file, text = sys.argv[1], sys.argv[2], Path(sys.argv[3]), sys.argv[4]


def parsed() -> DAG:
    """The DAG as its file has it now, which Airflow's database has afterwards."""
    bag = DagBag()
    assert not bag.import_errors, bag.import_errors
    sync_bag_to_db(bag, "dags-folder", None)
    return bag.dags[dag_id]


DagBundlesManager().sync_bundles_to_db()
dag, now = parsed(), timezone.utcnow()
with create_session() as session:
    begun = get_or_create_dagrun(
        dag=DagSerialization.deserialize_dag(DagSerialization.serialize_dag(dag)), run_id="edited", logical_date=now,
        data_interval=None, run_after=now, start_date=now, conf={}, triggered_by=DagRunTriggeredByType.TEST,
        triggering_user_name="tests", session=session,
    )  # fmt: skip
    number = begun.id
    session.add(job := Job())
    session.flush()
    scheduler = SchedulerJobRunner(job)
while True:
    dag = parsed()
    with create_session() as session:
        run = session.get(DagRun, number)
        scheduler._schedule_dag_run(run, session)
        session.flush()
        states = {instance.task_id: str(instance.state) for instance in run.get_task_instances(session=session)}
        due = run.get_task_instances(state=[TaskInstanceState.SCHEDULED], session=session)
        session.expunge_all()
    if run.state != DagRunState.RUNNING or not due:
        break
    for instance in due:
        _run_task(ti=instance, task=dag.task_dict[instance.task_id])
        if instance.task_id == last:
            file.write_text(text)
print("STATES " + json.dumps({"run": str(run.state), **states}))
