"""What Airflow adds: the same project through the real scheduler against `evertune run`, and what `unchanged` saves.

Turn and turn about, each in a home of its own with the downloads shared: `evertune run` (A), the DAG run in the
embedded Airflow (B, from trigger to end, Airflow being up). Printed: seconds of both, B − A a task, B / A, and an
unchanged `evertune run` against the first.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._machine import describe, spread
from scripts.airflow_api import RUNNING, Airflow

from evertune.records import Step
from evertune.settings import load as load_settings

TASKS = len(Step) + 1
"""The steps, and the teardown that tells the webhooks."""
SHARE, SECONDS_A_TASK, UNCHANGED = 1.25, 3.0, 10.0
"""What Airflow may cost, and how many times faster a run must be in which nothing has changed."""
PROJECT = "review-sentiment"


def home_with_downloads(folder: Path) -> dict[str, str]:
    """An environment whose home is new, but for the wheels and base models."""
    shared = load_settings().cache
    (folder / "cache").mkdir(parents=True)
    for name in ("wheels", "bases"):
        (shared / name).mkdir(parents=True, exist_ok=True)
        (folder / "cache" / name).symlink_to(shared / name)
    return {**os.environ, "EVERTUNE_HOME": str(folder)}


def command_line(environment: dict[str, str]) -> tuple[float, str]:
    """Seconds of one `evertune run`, and its verdict."""
    started = time.perf_counter()
    command = [sys.executable, "-m", "evertune.cli.main", "run", PROJECT, "--json"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    seconds = time.perf_counter() - started
    return seconds, str(json.loads(done.stdout)["verdict"]["decision"])


def scheduler(environment: dict[str, str]) -> float:
    """Seconds of one DAG run, from the trigger to its end."""
    embedded = [sys.executable, "-m", "scripts.embedded"]
    up = subprocess.run([*embedded, "up"], env=environment, capture_output=True, text=True, check=True)
    try:
        lines = dict(line.split(maxsplit=1) for line in up.stdout.replace("login of both", "login").splitlines())
        user, password = lines["login"].split(" / ")
        airflow = Airflow(lines["Airflow"], user, password)
        airflow.await_dag(f"retrain__{PROJECT}")
        started = time.perf_counter()
        run = airflow.trigger(f"retrain__{PROJECT}", {})
        while (state := airflow.run_state(f"retrain__{PROJECT}", run)) in RUNNING:
            time.sleep(0.2)
        assert state == "success", state
        return time.perf_counter() - started
    finally:
        subprocess.run([*embedded, "down"], env=environment, capture_output=True, check=True)


def main() -> int:
    """Print the figures; status 1 where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=3)
    options = parser.parse_args()
    print(describe("apache-airflow", "mlflow", "dvc", "torch"))
    alone, again, through = [], [], []
    for _ in range(options.pairs):
        with tempfile.TemporaryDirectory() as scratch:
            environment = home_with_downloads(Path(scratch) / "a")
            seconds, verdict = command_line(environment)
            assert verdict == "promote", verdict
            alone.append(seconds)
            seconds, verdict = command_line(environment)
            assert verdict == "unchanged", verdict
            again.append(seconds)
            through.append(scheduler(home_with_downloads(Path(scratch) / "b")))
        print(
            f"evertune run {alone[-1]:.1f} s, unchanged {again[-1]:.1f} s, through Airflow {through[-1]:.1f} s",
            flush=True,
        )
    limit = SHARE * statistics.median(alone) + SECONDS_A_TASK * TASKS
    saved = [a / u for a, u in zip(alone, again, strict=True)]
    print(f"through the scheduler / evertune run: {spread([b / a for a, b in zip(alone, through, strict=True)])}")
    print(f"seconds more a task: {spread([(b - a) / TASKS for a, b in zip(alone, through, strict=True)])}")
    print(
        f"limit, {SHARE} x + {SECONDS_A_TASK:.0f} s a task: {limit:.1f} s; measured: {statistics.median(through):.1f} s"
    )
    print(f"first / unchanged: {spread(saved)}, wanted: {UNCHANGED:.0f}")
    return 0 if statistics.median(through) <= limit and statistics.median(saved) >= UNCHANGED else 1


if __name__ == "__main__":
    sys.exit(main())
