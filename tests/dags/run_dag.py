"""Runs a DAG by `dag.test()` in a process of its own and prints its tasks' states as JSON.

A process of its own, because Airflow reads its configuration when it is imported.
"""

from __future__ import annotations

import json
import sys

from airflow.dag_processing.dagbag import DagBag

dag_id, conf = sys.argv[1], json.loads(sys.argv[2])
bag = DagBag()
run = bag.dags[dag_id].test(run_conf=conf)
states = {instance.task_id: str(instance.state) for instance in run.get_task_instances()}
print("STATES " + json.dumps({"run": str(run.state), **states}))
