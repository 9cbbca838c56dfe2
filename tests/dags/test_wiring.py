"""Schedule, form, chain and retries of the retrain and the monitor are what docstrings and project files say."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from typing import Any

import pytest
import yaml
from tests.support import ROOT, small_project

pytestmark = pytest.mark.integration

SCRIPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag

def told(dag):
    clock = getattr(dag.timetable, "timetable", dag.timetable)
    started_by = dag.timetable.asset_condition
    return {
        "clock": [clock.expression, str(clock.timezone)] if hasattr(clock, "expression") else None,
        "alerts": [asset.name for asset in getattr(started_by, "objects", [started_by]) if hasattr(asset, "name")],
        "emits": {task.task_id: [asset.name for asset in task.outlets] for task in dag.tasks if task.outlets},
        "catchup": dag.catchup, "at_once": dag.max_active_runs, "owner": dag.owner,
        "form": {name: dag.params.get_param(name).schema for name in dag.params},
        "after": {task.task_id: sorted(task.downstream_task_ids) for task in dag.tasks},
        "pool": {task.task_id: task.pool for task in dag.tasks if task.pool != "default_pool"},
        "tells": {task.task_id: [type(one).__name__ for one in task.on_failure_callback] for task in dag.tasks},
        "retries": {task.task_id: [task.retries, bool(task.retry_exponential_backoff)] for task in dag.tasks},
    }

found = {}
for file in sys.argv[1:]:
    bag = DagBag(file)
    assert not bag.import_errors, bag.import_errors
    found |= {name: told(dag) for name, dag in bag.dags.items()}
print("FOUND " + json.dumps(found))
"""
STEPS = ["claim", "snapshot", "validate", "prepare", "tune", "judge", "promote"]


@pytest.fixture(scope="module")
def every_dag(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    root = tmp_path_factory.mktemp("wiring")
    clock = {"cron": "30 4 * * 1", "timezone": "Europe/Berlin"}
    for name, schedule in {"nightly": {}, "weekly": clock, "for-drift": {"cron": ""}}.items():
        monitoring = {"cron": schedule["cron"]} if schedule else {}
        document = small_project(name, owner="team", schedule=schedule, monitoring=monitoring)
        (root / f"{name}.yaml").write_text(yaml.safe_dump(document))
    (root / "edited.yaml").write_text(yaml.safe_dump(small_project("edited", task="another")))
    environment = {
        **os.environ, "EVERTUNE_PROJECTS": str(root), "EVERTUNE_HOME": str(root / "home"), "AIRFLOW_HOME": str(root),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "PYTHONPATH": os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")]),
    }  # fmt: skip
    command = [sys.executable, "-c", SCRIPT, *(str(ROOT / "dags" / f"{kind}.py") for kind in ("retrain", "monitor"))]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    return dict(json.loads(line.removeprefix("FOUND ")))


@pytest.fixture
def dags(every_dag: dict[str, Any]) -> dict[str, Any]:
    """Those of the retrain, but for the unfit file's."""
    unfit = "retrain__edited"
    return {name: dag for name, dag in every_dag.items() if name.startswith("retrain__") and name != unfit}


def test_a_run_under_way_finds_all_that_it_needs_in_the_dag_of_an_unfit_file(every_dag: dict[str, Any]) -> None:
    edited, whole = every_dag["retrain__edited"], every_dag["retrain__nightly"]
    assert (edited["clock"], edited["alerts"]) == (None, [])
    same = ("after", "pool", "retries", "form", "at_once")
    assert {name: edited[name] for name in same} == {name: whole[name] for name in same}
    assert (edited["emits"], whole["emits"]) == ({"promote": ["champion__edited"]}, {"promote": ["champion__nightly"]})
    assert edited["tells"] == whole["tells"] == {step: ["FailedTask"] for step in [*STEPS, "notify"]}


def test_the_monitor_of_an_unfit_file_has_all_its_tasks_and_no_clock(every_dag: dict[str, Any]) -> None:
    edited, whole = every_dag["monitor__edited"], every_dag["monitor__nightly"]
    assert edited["clock"] is None
    same = ("after", "retries", "at_once", "tells", "catchup")
    assert {name: edited[name] for name in same} == {name: whole[name] for name in same}
    assert edited["emits"] == {"wake": ["drift_alert__edited"]}


def test_the_clock_and_the_drift_alert_start_it(dags: dict[str, Any]) -> None:
    found = {name: (dag["clock"], dag["alerts"]) for name, dag in dags.items()}
    assert all(alerts == [f"drift_alert__{name.removeprefix('retrain__')}"] for name, (_, alerts) in found.items())
    assert found["retrain__nightly"][0] == ["0 2 * * *", "UTC"]
    assert found["retrain__weekly"][0] == ["30 4 * * 1", "Europe/Berlin"]
    assert found["retrain__for-drift"][0] is None


def test_one_run_of_a_project_at_a_time_and_none_for_nights_that_are_over(dags: dict[str, Any]) -> None:
    assert {(dag["at_once"], dag["catchup"], dag["owner"]) for dag in dags.values()} == {(1, False, "team")}


def test_the_steps_come_one_after_another_and_training_takes_a_gpu(dags: dict[str, Any]) -> None:
    after, pool = dags["retrain__nightly"]["after"], dags["retrain__nightly"]["pool"]
    assert all(later in after[step] for step, later in itertools.pairwise(STEPS))
    assert set(after) == {*STEPS, "notify"}
    assert pool == {"tune": "gpu"}


def test_the_form_asks_by_a_schema(dags: dict[str, Any]) -> None:
    form = dags["retrain__nightly"]["form"]
    assert {name: schema.get("type") for name, schema in form.items()} == {
        "method": None, "force": "boolean", "reason": "string",
    }  # fmt: skip
    assert form["method"]["enum"] == ["as in the project file", "full", "lora"]


def test_steps_are_tried_again_ever_later(dags: dict[str, Any]) -> None:
    retries = dags["retrain__nightly"]["retries"]
    assert {step: retries[step] for step in STEPS} == {step: [3, True] for step in STEPS}


def test_the_monitor_looks_every_quarter_of_an_hour_unless_the_project_says_otherwise(
    every_dag: dict[str, Any],
) -> None:
    clocks = {name: every_dag[name]["clock"] for name in ("monitor__nightly", "monitor__weekly", "monitor__for-drift")}
    assert clocks == {
        "monitor__nightly": ["*/15 * * * *", "UTC"], "monitor__weekly": ["30 4 * * 1", "UTC"],
        "monitor__for-drift": None,
    }  # fmt: skip


def test_the_monitor_looks_once_for_all_the_time_that_it_was_away(every_dag: dict[str, Any]) -> None:
    found = [dag for name, dag in every_dag.items() if name.startswith("monitor__") and "edited" not in name]
    assert {(dag["at_once"], dag["catchup"], dag["owner"]) for dag in found} == {(1, False, "team")}


def test_the_monitors_last_step_alone_wakes_the_retrain(every_dag: dict[str, Any]) -> None:
    found = every_dag["monitor__nightly"]
    steps = ["window", "report", "decide", "wake"]
    assert all(later in found["after"][step] for step, later in itertools.pairwise(steps))
    assert set(found["after"]) == {*steps, "notify"}
    assert found["emits"] == {"wake": ["drift_alert__nightly"]}
    assert {step: found["retries"][step] for step in steps} == {step: [3, True] for step in steps}
