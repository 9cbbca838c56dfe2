"""The asset `champion__<project>` tells of new releases: the task `promote` ends as skipped where there is none."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.support import ROOT

from evertune.settings import Settings

pytestmark = pytest.mark.integration

SCRIPT = """
import json
from evertune_dags import tasks
from datetime import UTC, datetime
from types import SimpleNamespace
from evertune import loop
from evertune.records import Decision, Outcome, Release, Step, Verdict
from airflow.sdk.exceptions import AirflowSkipException

def release(run_key):
    return Release(project="p", generation=1, model_version=1, digest="d", run_key=run_key, kind="promote",
                   approved_by="gate", created=datetime.now(UTC))

def ends(decision, release):
    outcome = Outcome(run_key="now", project="p", method="full", release=release,
                      verdict=Verdict(decision=decision, reasons=("because",)))
    loop.STEPS[Step.PROMOTE] = lambda *_: outcome
    try:
        tasks.perform("promote", "now")
    except AirflowSkipException as skipped:
        return str(skipped)
    return "success"

context = {"ti": None, "dag_run": SimpleNamespace(dag_id="d", run_id="r")}
tasks.get_current_context = lambda: context
print("FOUND " + json.dumps([
    ends(Decision.PROMOTE, release("now")), ends(Decision.REJECT, release("before")),
    ends(Decision.PROMOTE, None), ends(Decision.UNCHANGED, release("before")),
]))
"""


def test_nobody_is_told_of_a_champion_that_is_not_new(environment: Settings) -> None:
    paths = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": paths, "AIRFLOW_HOME": str(environment.home)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    promoted, *others = json.loads(line.removeprefix("FOUND "))
    assert promoted == "success"
    assert others == ["No new release of now: what answered before goes on. `judge` tells why."] * 3
