"""An unfit project file takes none of its project's DAGs away, and takes no other DAG's place."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from tests.support import ROOT, small_project

pytestmark = pytest.mark.integration


def dags(projects: Path, home: Path, kind: str = "retrain") -> dict[str, bool]:
    """The DAGs of dags/<kind>.py, by id, and whether they are those of valid projects."""
    environment = {
        **os.environ, "EVERTUNE_PROJECTS": str(projects), "EVERTUNE_HOME": str(home), "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
    }  # fmt: skip
    script = (
        "import json\nfrom airflow.dag_processing.dagbag import DagBag\n"
        f"bag = DagBag({str(ROOT / 'dags' / f'{kind}.py')!r})\n"
        "print('FOUND ' + json.dumps([{i: 'invalid' not in d.tags for i, d in bag.dags.items()}, bag.import_errors]))"
    )
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found, errors = json.loads(line.removeprefix("FOUND "))
    assert errors == {}
    valid: dict[str, bool] = found
    return valid


def test_a_bad_file_does_not_replace_a_good_project_of_the_same_name(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "a-good-one.yaml").write_text(yaml.safe_dump(small_project("reviews")))
    (projects / "reviews.yaml").write_text("owner: team\n")
    (projects / "z.yaml").write_text("slug: reviews\n")
    (projects / "other.yaml").write_text("slug: other\n")
    (projects / "other.yml").write_text("owner: team\n")
    found = dags(projects, tmp_path / "home")
    valid = {"retrain__reviews": True}
    unfit = dict.fromkeys(("retrain__reviews.yaml", "retrain__z.yaml", "retrain__other", "retrain__other.yml"), False)
    assert found == valid | unfit


def test_the_dag_of_an_unfit_file_is_that_of_its_slug(tmp_path: Path) -> None:
    """Else a run that was under way when the file was edited would have no DAG any more."""
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "a.yaml").write_text("slug: one\nowner: 1\n")
    (projects / "b.yaml").write_text("slug: two\ntuning: {\n")
    (projects / "c.yaml").write_text("slug: No Slug\n")
    (projects / "four.yaml").write_text("tuning: {\n")
    (projects / "z.yaml").write_text("slug: four\n")
    assert set(dags(projects, tmp_path / "home")) == {
        "retrain__one", "retrain__two", "retrain__c", "retrain__four", "retrain__four.yaml"
    }  # fmt: skip


@pytest.mark.parametrize("kind", ["monitor", "release", "score"])
def test_each_dag_that_a_project_may_have_had_stays(tmp_path: Path, kind: str) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "good.yaml").write_text(yaml.safe_dump(small_project("good")))
    for name in ("twice", "twice-copy"):
        (projects / f"{name}.yaml").write_text(yaml.safe_dump(small_project("twice")))
    (projects / "a.yaml").write_text("slug: one\nowner: 1\n")
    (projects / "b.yaml").write_text("slug: two\ntuning: {\n")
    (projects / "No Slug.yaml").write_text("owner: team\n")
    slugs = {"good": True, "twice": False, "one": False, "two": False}
    assert dags(projects, tmp_path / "home", kind) == {f"{kind}__{slug}": valid for slug, valid in slugs.items()}


@pytest.mark.parametrize("kind", ["retrain", "monitor"])
def test_a_folder_that_is_not_there_is_told_by_one_dag_and_is_no_project(tmp_path: Path, kind: str) -> None:
    found = dags(tmp_path / "projects", tmp_path / "home", kind)
    assert found == ({"retrain__projects": False} if kind == "retrain" else {})


def test_of_two_files_of_one_slug_one_goes_by_it(tmp_path: Path) -> None:
    projects = tmp_path / "projects"
    projects.mkdir()
    for name in ("reviews", "reviews-copy"):
        (projects / f"{name}.yaml").write_text(yaml.safe_dump(small_project("reviews")))
    found = dags(projects, tmp_path / "home")
    assert found == {"retrain__reviews": False, "retrain__reviews-copy.yaml": False}


def test_every_unfit_file_has_a_dag_whatever_it_is_called(tmp_path: Path) -> None:
    """A name that Airflow refuses would take down all DAGs of retrains; one that two files share, one of the two."""
    projects = tmp_path / "projects"
    projects.mkdir()
    (projects / "good.yaml").write_text(yaml.safe_dump(small_project("good")))
    names = ["x" * 250 + ".yaml", "x" * 240 + "yy.yaml", *(f"{letter}.yaml" for letter in "äöüß{ ")]
    for name in names:
        (projects / name).write_text("owner: team\n")
    found = dags(projects, tmp_path / "home")
    assert found.pop("retrain__good")
    assert len(found) == len(names)
    assert max(map(len, found)) <= 250
    assert all(re.fullmatch(r"retrain__[\w.-]+", name, re.ASCII) for name in found)
