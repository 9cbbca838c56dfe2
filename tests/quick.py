"""A whole pass in fifteen seconds: a base model of two narrow layers, and texts whose class is told by one word.

The trainer, DVC, Great Expectations, MLflow and the gate are the real ones; only the numbers they work on are few.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from tests.support import ROOT

from evertune.settings import Settings, load

SLUG = "quick"
BASE_SEED = 6
"""Of the first six, the base whose untuned answers are best, 77%: a challenger that learnt nothing is clearly worse."""
TUNING: dict[str, object] = {"epochs": 8, "learning_rate": 5e-3, "tokens_per_batch": 256}


def home(root: Path, registry: Path) -> Settings:
    """Settings of an installation below ``root``, with an MLflow database that need not be made first."""
    where = load({"EVERTUNE_HOME": str(root / "home"), "EVERTUNE_PROJECTS": str(root / "projects")})
    where.projects.mkdir(parents=True)
    (where.home / "mlflow").mkdir(parents=True)
    shutil.copy(registry, where.home / "mlflow" / "mlflow.db")
    return where


def write(where: Settings, **changes: object) -> Path:
    """The project's file, its rows and its base model. ``changes`` replace whole blocks."""
    from tests.models import tiny

    root = where.projects.parent
    if not (root / "base").exists():
        tiny.raw_base(root / "base", BASE_SEED)
        with (root / "rows.csv").open("w", newline="") as stream:
            rows = [(words, tiny.LABELS[label]) for words, label in tiny.sentences(600, seed=3)]
            csv.writer(stream).writerows([("text", "label"), *rows])
    document = {
        "schema_version": 1, "slug": SLUG, "owner": "tests", "base": {"uri": "../base"},
        "data": {"sources": [{"uri": "../rows.csv"}], "columns": {"text": "text", "label": "label"}},
        "preparation": {"max_tokens": 32}, "tuning": TUNING, **changes,
    }  # fmt: skip
    path = where.projects / f"{document['slug']}.yaml"
    path.write_text(yaml.safe_dump(document, sort_keys=False))
    return path


def environment(where: Settings) -> dict[str, str]:
    """A process's environment with these settings and no others of evertune's."""
    others = {name: value for name, value in os.environ.items() if not name.startswith("EVERTUNE_")}
    return {**others, **where.environment()}


def airflow(where: Settings, database: Path) -> dict[str, str]:
    """The environment of an Airflow with a database of its own, a copy of ``database``, in a home that is new."""
    folder = where.home / "airflow"
    folder.mkdir()
    shutil.copy(database, folder)
    return environment(where) | {
        # The DAGs' folder, as Airflow has it for its bundle; what is there already stays.
        "PYTHONPATH": os.pathsep.join([str(ROOT / "dags"), os.environ.get("PYTHONPATH", "")]),
        "AIRFLOW_HOME": str(folder),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
    }


def evertune(where: Settings, *arguments: str, cwd: Path | None = None) -> tuple[int, dict[str, Any]]:
    """Exit status and printed object of a command."""
    command = [sys.executable, "-m", "evertune.cli.main", *arguments, "--json"]
    done = subprocess.run(
        command, env=environment(where), cwd=cwd, capture_output=True, text=True, check=False
    )  # fmt: skip
    assert done.stdout, done.stderr[-4000:]
    return done.returncode, json.loads(done.stdout)
