"""All that is called by a slug or an owner may be called so, where these are as long as they may be."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml
from tests import quick
from tests.support import ROOT, small_project, write_project

from evertune.ledger import traffic_tables
from evertune.ledger.runs import _key
from evertune.ledger.tables import TriggerRow
from evertune.project.load import load_many
from evertune.project.slugs import LONGEST, is_slug
from evertune.settings import Settings

pytestmark = pytest.mark.integration

SLUG = f"a{'-long-slug' * 10}"[:LONGEST]
SCRIPT = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
from airflow.models.asset import AssetModel
from airflow.models.dag import DagModel, DagTag
from airflow.models.log import Log
from mlflow.store.model_registry.dbmodels.models import SqlRegisteredModel
from mlflow.store.tracking.dbmodels.models import SqlExperiment, SqlRun

bag = DagBag()
assert not bag.import_errors, bag.import_errors
dags = bag.dags.values()
assets = [asset for dag in dags for task in dag.tasks for asset in task.outlets]
names = {
    "DAG": (list(bag.dags), DagModel.dag_id),
    "tag": ([tag for dag in dags for tag in dag.tags], DagTag.name),
    "owner": ([task.owner for dag in dags for task in dag.tasks], Log.owner),
    "asset": ([asset.name for asset in assets], AssetModel.name),
    "address of an asset": ([asset.uri for asset in assets], AssetModel.uri),
    "experiment": ([sys.argv[1]], SqlExperiment.name),
    "run": ([sys.argv[2]], SqlRun.name),
    "model": ([sys.argv[1]], SqlRegisteredModel.name),
}
found = {what: [sorted(set(names)), column.type.length] for what, (names, column) in names.items()}
print("FOUND " + json.dumps(found))
"""


def test_the_longest_slug_and_owner_fit_wherever_they_become_part_of_a_name(where: Settings) -> None:
    assert is_slug(SLUG)
    assert not is_slug(SLUG + "a")
    key = _key(TriggerRow(project=SLUG, key="k", created=datetime.now(UTC), runs=99))
    found = _found(where, key)
    assert found["owner"][0] == ["o" * 500]
    assert found["DAG"][0] == [f"{kind}__{SLUG}" for kind in ("monitor", "release", "retrain", "score")]
    assert found["asset"][0] == [f"{kind}__{SLUG}" for kind in ("champion", "drift_alert")]
    assert found["address of an asset"][0] == [f"evertune://{kind}/{SLUG}" for kind in ("champion", "drift-alert")]
    too_long = {what: [name for name in names if len(name) > limit] for what, (names, limit) in found.items()}
    assert too_long == {what: [] for what in found}
    # Files and folders: of Airflow's logs, of runs and jobs (written aside first), and a step's lock.
    assert all(len(f"dag_id={name}") <= 255 for name in found["DAG"][0])
    assert max(len(f".{key}.12345678"), len(f"evertune.{SLUG}.snapshot.lock")) <= 255


def test_a_longer_owner_is_a_fault_of_its_file(where: Settings) -> None:
    where.projects.mkdir()
    _, (fault,) = load_many([write_project(where, small_project(owner="o" * 501))])
    told = "expected a text of at most 500 characters; found a text of 501 characters"
    assert (fault.where, fault.message) == ("owner", told)


def test_the_ledger_bounds_no_text() -> None:
    tables = traffic_tables.WindowRow.metadata.tables.values()
    assert {"runs", "triggers", "windows"} <= {table.name for table in tables}
    assert [column for table in tables for column in table.columns if getattr(column.type, "length", None)] == []


def _found(where: Settings, key: str) -> dict[str, Any]:
    """The names of each kind, and how long such a one may be in Airflow's and MLflow's databases."""
    where.projects.mkdir()
    (where.projects / "x.yaml").write_text(yaml.safe_dump(small_project(SLUG, owner="o" * 500)))
    where.home.mkdir()
    environment = quick.environment(where) | {
        "PYTHONPATH": os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")]),
        "AIRFLOW_HOME": str(where.home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }
    command = [sys.executable, "-c", SCRIPT, SLUG, key]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    return dict(json.loads(line.removeprefix("FOUND ")))
