"""The DAG of an unfit project file takes no other DAG's place."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support import ROOT, small_project

pytestmark = pytest.mark.integration


def dags(projects: Path, home: Path) -> dict[str, list[str]]:
    """The DAGs of dags/retrain.py, by id, with their tasks."""
    environment = {
        **os.environ, "EVERTUNE_PROJECTS": str(projects), "EVERTUNE_HOME": str(home), "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }  # fmt: skip
    script = (
        "import json\nfrom airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(ROOT / 'dags' / 'retrain.py')!r})\n"
        "print('FOUND ' + json.dumps([{i: sorted(d.task_dict) for i, d in bag.dags.items()}, bag.import_errors]))"
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found, errors = json.loads(line.removeprefix("FOUND "))
    assert errors == {}
    tasks: dict[str, list[str]] = found
    return tasks


def test_a_bad_file_does_not_replace_a_good_project_of_the_same_name(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "a-good-one.yaml").write_text(yaml.safe_dump(small_project("reviews")))
    (projects / "reviews.yaml").write_text("slug: reviews-2\n")
    (projects / "other.yaml").write_text("slug: other\n")
    (projects / "other.yml").write_text("slug: another\n")
    found = dags(projects, tmp_path / "home")
    assert "tune" in found["retrain__reviews"]
    assert found["retrain__reviews.yaml"] == ["invalid"]
    assert found["retrain__other"] == ["invalid"]
    assert set(found) <= {"retrain__reviews", "retrain__reviews.yaml", "retrain__other", "retrain__other.yml"}
