"""Airflow tries a task again only where that can help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest
from tests import quick
from tests.support import ROOT

from evertune.settings import Settings

pytestmark = pytest.mark.integration

SCRIPT = """
import json, sys
from evertune_dags import retries
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException
from evertune.records import UnfitError, UnreachableError

found = {}
for fault in (UnreachableError("away"), UnfitError("bad rows"), ZeroDivisionError("a mistake"),
              OSError(28, "full"), ConnectionResetError("cut"), AirflowSkipException("nothing to do"), SystemExit(1)):
    try:
        with retries.translated():
            raise fault
    except BaseException as raised:
        how = "fails" if isinstance(raised, AirflowFailException) else "as it is" if raised is fault else "?"
        found[type(fault).__name__] = [how, str(raised)]
print("FOUND " + json.dumps(found))
"""

TASKS = """
import json
from evertune_dags import tasks
from airflow.sdk.exceptions import AirflowFailException

class Run: run_type, dag_id, run_id = "manual", "some__broken", "manual__1"
form = {"method": tasks.AS_IN_FILE, "reason": "", "force": False,
        "source": "texts.parquet", "sink": "scored.parquet", "column": None}
tasks.get_current_context = lambda: {"dag_run": Run, "params": form}
found = {}
for task in (tasks.claim, tasks.score, tasks.cut_windows, tasks.check_windows, tasks.decide):
    try:
        task("broken")
    except Exception as raised:
        found[task.__name__] = [isinstance(raised, AirflowFailException), str(raised)]
print("FOUND " + json.dumps(found))
"""


def printed(script: str, where: Settings) -> Any:
    """What the script says that it found."""
    paths = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    environment = quick.environment(where) | {"PYTHONPATH": paths, "AIRFLOW_HOME": str(where.home)}
    done = subprocess.run([sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    return json.loads(line.removeprefix("FOUND "))


def test_what_no_retry_can_mend_fails_at_once(where: Settings) -> None:
    found = printed(SCRIPT, where)
    assert {name: how for name, (how, _) in found.items()} == {
        "UnreachableError": "as it is", "UnfitError": "fails", "ZeroDivisionError": "fails", "OSError": "fails",
        "ConnectionResetError": "as it is", "AirflowSkipException": "as it is", "SystemExit": "as it is",
    }  # fmt: skip
    assert found["ZeroDivisionError"][1] == "ZeroDivisionError: a mistake"
    assert found["UnfitError"][1] == "bad rows"


def test_a_project_file_that_was_made_unfit_meanwhile_fails_each_task_that_needs_it_at_once(where: Settings) -> None:
    where.projects.mkdir()
    (file := where.projects / "broken.yaml").write_text("slug: broken\ndata: {\n")
    found = printed(TASKS, where)
    assert set(found) == {"claim", "score", "cut_windows", "check_windows", "decide"}  # a release needs no file
    assert [name for name, (at_once, _) in found.items() if not at_once] == []
    assert all(f"{file}:2:" in told for _, told in found.values())
