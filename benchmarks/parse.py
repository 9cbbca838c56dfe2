"""What parsing `dags/` costs with 1, 10 and 100 project files, and what it imports.

Each measurement is a process of its own, as the DAG processor's are. Printed: seconds for both DAG files without and
with the import of Airflow, seconds a DAG file and project file, and which of the heavy libraries were imported (none
may be).
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks._machine import describe

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "transformers", "mlflow", "great_expectations", "evidently", "pandas")
RUNS = 5
LIMIT_S = 1.0
"""For each DAG file, however many projects it makes DAGs of."""
CHILD = f"""
import json, sys, time
from airflow.dag_processing.dagbag import DagBag
started = time.perf_counter()
bag = DagBag()
took = time.perf_counter() - started
print("RESULT " + json.dumps({{"seconds": took, "dags": len(bag.dags), "errors": bag.import_errors,
    "files": {{stat.file: stat.duration.total_seconds() for stat in bag.dagbag_stats}},
    "heavy": [name for name in {HEAVY} if name in sys.modules]}}))
"""


def measure(projects: Path, home: Path) -> dict[str, object]:
    """Parse in a fresh process."""
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "dags"),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "EVERTUNE_PROJECTS": str(projects),
        "EVERTUNE_HOME": str(home / "evertune"),
    }
    done = subprocess.run([sys.executable, "-c", CHILD], env=environment, capture_output=True, text=True, check=True)
    line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
    found: dict[str, object] = json.loads(line.removeprefix("RESULT "))
    assert found["errors"] == {}, found["errors"]
    return found


def main() -> int:
    """Print the table; status 1 where something heavy was imported or a DAG file took a second."""
    print(describe("apache-airflow", "pydantic", "PyYAML"))
    text = (ROOT / "projects" / "review-sentiment.yaml").read_text()
    fine = True
    print("| project files | DAGs | seconds for dags/ (median of 5) | slowest DAG file | ms a project file | heavy |")
    print("|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as scratch:
        for count in (1, 10, 100):
            projects = Path(scratch) / str(count)
            projects.mkdir()
            for number in range(count):
                slug = f"review-sentiment-{number}"
                (projects / f"{slug}.yaml").write_text(text.replace("slug: review-sentiment", f"slug: {slug}"))
            runs = [measure(projects, Path(scratch) / "airflow") for _ in range(RUNS)]
            seconds = statistics.median(float(str(run["seconds"])) for run in runs)
            slowest = statistics.median(max(run["files"].values()) for run in runs)  # type: ignore[attr-defined]
            heavy = sorted({str(name) for run in runs for name in run["heavy"]})  # type: ignore[attr-defined]
            fine = fine and not heavy and slowest < LIMIT_S
            each = 1000 * seconds / len(runs[0]["files"]) / count  # type: ignore[arg-type]
            found = ", ".join(heavy) or "none"
            print(f"| {count} | {runs[0]['dags']} | {seconds:.2f} | {slowest:.2f} s | {each:.1f} | {found} |")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
