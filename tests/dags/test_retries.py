"""Airflow tries a task again only where that can help."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import ROOT

pytestmark = pytest.mark.integration

SCRIPT = """
import json, sys
import retries
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


def test_what_no_retry_can_mend_fails_at_once(tmp_path: Path) -> None:
    paths = os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "PYTHONPATH": paths, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], env=environment, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("FOUND "))
    found = json.loads(line.removeprefix("FOUND "))
    assert {name: how for name, (how, _) in found.items()} == {
        "UnreachableError": "as it is", "UnfitError": "fails", "ZeroDivisionError": "fails", "OSError": "fails",
        "ConnectionResetError": "as it is", "AirflowSkipException": "as it is", "SystemExit": "as it is",
    }  # fmt: skip
    assert found["ZeroDivisionError"][1] == "ZeroDivisionError: a mistake"
    assert found["UnfitError"][1] == "bad rows"
