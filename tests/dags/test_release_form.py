"""What a person says in the form of `release__<project>` reaches the library, the reason too."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
from tests.support import ROOT, small_project, write_project

from evertune.settings import Settings

pytestmark = pytest.mark.integration

SCRIPT = """
import json
import release
from evertune_dags import tasks
from datetime import UTC, datetime
from types import SimpleNamespace
from evertune import loop
from airflow.sdk.exceptions import AirflowSkipException

asked = []
done = SimpleNamespace(generation=2, model_version=1)
for name, answer in (("promote_by_hand", done), ("refuse", "run-1"), ("rollback", done)):
    def call(slug, where, *, name=name, answer=answer, **told):
        assert slug == "small-reviews"
        asked.append([name, told])
        return answer
    setattr(loop, name, call)

moment = datetime(2026, 1, 1, tzinfo=UTC)
loop.answered_at = lambda slug, where, when: 7 if when == moment else None
form = release.params()
for action, expected in [*((one, None) for one in form["action"].schema["enum"]), ("promote", 0), ("rollback", 3)]:
    params = {name: param.value for name, param in form.items()} | {"action": action, "reason": "because"}
    params["expected_generation"] = expected
    run = SimpleNamespace(triggering_user_name="ann", run_after=moment)
    tasks.get_current_context = lambda params=params: {"params": params, "dag_run": run}
    try:
        tasks.release("small-reviews")
    except AirflowSkipException as skipped:
        asked.append(["skipped", {"why": str(skipped)}])
print("FOUND " + json.dumps(asked))
"""


@pytest.mark.parametrize("task", ["sequence-classification", "none that there is"])
def test_each_action_is_done_with_the_name_and_the_reason_of_who_asked(environment: Settings, task: str) -> None:
    """Whether the project file is fit or not."""
    write_project(environment, small_project(task=task))
    paths = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    variables = {**os.environ, "PYTHONPATH": paths, "AIRFLOW_HOME": str(environment.home)}
    done = subprocess.run([sys.executable, "-c", SCRIPT], env=variables, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    promoted, refused, skipped, rolled_back, *as_seen = json.loads(line.removeprefix("FOUND "))
    who = {"by": "ann", "reason": "because"}
    sent = {**who, "expected": 7}
    assert promoted == ["promote_by_hand", {**sent, "model_version": None}], "what answered when the form was sent"
    assert refused == ["refuse", who]
    assert skipped[0] == "skipped", "nothing was released, so nobody must be told of a new champion"
    assert rolled_back == ["rollback", {**sent, "to": None}]
    assert [told["expected"] for _, told in as_seen] == [0, 3], "what the form says the person saw"
