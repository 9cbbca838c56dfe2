"""The bundle that the README has a person add to an Airflow, beside DAGs of that person's own."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from typing import Any

import pytest
import yaml
from tests import quick
from tests.support import ROOT, small_project

from evertune.settings import Settings

pytestmark = pytest.mark.integration

SCRIPT = """
import json
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import BundleDagBag

found = {}
for bundle in DagBundlesManager().get_all_dag_bundles():  # as `airflow dags reserialize`: all in one process
    bag = BundleDagBag(dag_folder=bundle.path, bundle_path=bundle.path, bundle_name=bundle.name)
    found[bundle.name] = [sorted(bag.dags), bag.import_errors]
print("FOUND " + json.dumps(found))
"""
OWN = """
from airflow.sdk import DAG
from tasks import NAME

with DAG(NAME):
    pass
"""
NOTIFIED = f"""
import sys
sys.path.append({str(ROOT / "dags")!r})
from airflow.sdk import DAG
from airflow.sdk.bases.notifier import BaseNotifier
from evertune_dags.notices import ProjectEvents

with DAG("own", on_failure_callback=ProjectEvents("small", BaseNotifier())):
    pass
"""
SHARED = ("assets", "notices", "retries", "tasks")


def test_the_bundle_of_the_readme_and_a_teams_own_dags_do_not_meet(where: Settings) -> None:
    block = re.search(r"```ini\n(\[dag_processor\]\n.*?)```", (ROOT / "README.md").read_text(), re.S)
    assert block is not None
    (own := where.home / "dags").mkdir(parents=True)
    (own / "own.py").write_text(OWN)
    for name in SHARED:
        (own / f"{name}.py").write_text("NAME = 'own'\n")
    (where.home / "airflow.cfg").write_text(block[1].replace("/opt/evertune/dags", str(ROOT / "dags")))
    where.projects.mkdir()
    (where.projects / "small.yaml").write_text(yaml.safe_dump(small_project("small")))
    ours = [f"{kind}__small" for kind in ("monitor", "release", "retrain", "score")]
    assert _found(where) == {"dags-folder": [["own"], {}], "evertune": [ours, {}]}


def test_a_dag_of_another_bundle_may_use_the_notifier(where: Settings) -> None:
    (own := where.home / "dags").mkdir(parents=True)
    (own / "own.py").write_text(NOTIFIED)
    assert _found(where) == {"dags-folder": [["own"], {}]}


def _found(where: Settings) -> dict[str, Any]:
    """The DAGs and faults of each bundle, by an Airflow that has nothing but its airflow.cfg."""
    environment = quick.environment(where) | {"AIRFLOW_HOME": str(where.home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
    environment.pop("AIRFLOW__CORE__DAGS_FOLDER", None)
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    return dict(json.loads(line.removeprefix("FOUND ")))
