"""Runs a DAG by `dag.test()` in a process of its own and prints its tasks' states, and their buttons, as JSON.

A process of its own, because Airflow reads its configuration when it is imported. With a third argument, a time, the
DAG run has that logical date, and so the same id as another of that date: its tasks are retries of that one's.
"""

from __future__ import annotations

import json
import sys
from datetime import datetime

from airflow.dag_processing.dagbag import DagBag
from airflow.models.xcom import XComModel
from airflow.utils.session import create_session

dag_id, conf = sys.argv[1], json.loads(sys.argv[2])
bag = DagBag()
when = dict.fromkeys(("logical_date", "run_after"), datetime.fromisoformat(sys.argv[3])) if len(sys.argv) > 3 else {}
run = bag.dags[dag_id].test(run_conf=conf, **when)
states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
print("STATES " + json.dumps({"run": str(run.state), **states}))
with create_session() as session:
    rows = session.query(XComModel).filter(XComModel.run_id == run.run_id, XComModel.key.startswith("_link_"))
    print("BUTTONS " + json.dumps({row.task_id: XComModel.deserialize_value(row) for row in rows}))
