"""retrain__<project>: its project file is edited into none while a run is under way."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from tests import quick
from tests.quick import SLUG

from evertune.ledger import engine, releases, runs

pytestmark = pytest.mark.integration

AT_ONCE = {f"AIRFLOW__CORE__MIN_SERIALIZED_DAG_{what}_INTERVAL": "0" for what in ("UPDATE", "FETCH")}
"""What was parsed is stored, and what was stored is read, without the half minute that Airflow waits in between."""


def test_a_run_goes_on_with_the_project_that_it_holds(tmp_path: Path, registry: Path, airflow_db: Path) -> None:
    where = quick.home(tmp_path, registry)
    file = quick.write(where).rename(where.projects / "called-otherwise.yaml")
    torn = file.read_text() + "tuning: {\n"
    script = str(Path(__file__).with_name("run_edited.py"))
    done = subprocess.run(
        [sys.executable, script, f"retrain__{SLUG}", "snapshot", str(file), torn],
        env=quick.airflow(where, airflow_db) | AT_ONCE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    line = next(line for line in done.stdout.splitlines() if line.startswith("STATES "))
    states: dict[str, Any] = json.loads(line.removeprefix("STATES "))
    assert set(states.values()) == {"success"}, states
    assert file.read_text() == torn
    ledger = engine.ready(where.database_url)
    (run,) = runs.history(ledger, SLUG)
    assert run.decision == "promote"
    assert [release.run_key for release in releases.history(ledger, SLUG)] == [run.key]
