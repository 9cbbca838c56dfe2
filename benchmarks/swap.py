"""New releases under constant load on the real server: requests that failed, and what a switch adds to the latency.

    python -m benchmarks.swap [--releases 50] [--clients 8] [--convert-every 25] [--refuse-every 10]
                              [--project review-sentiment]

Wants a release: `make demo`, or `evertune run review-sentiment`, in the same EVERTUNE_HOME. Each release goes the whole
way: ledger, signature, MLflow, verification, warming, switch. The engine of a model that was here before is taken over,
as after a rollback; at every n-th release it is converted anew under the load; and at every n-th one that nobody has
signed comes before it, which must not answer. Exit status 1: a request failed, or such a release was not refused.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import NamedTuple

import numpy as np
import pyarrow.parquet as pq
from benchmarks import _servers
from benchmarks._clients import Load, Seen
from benchmarks._machine import describe
from sqlalchemy import Engine

from evertune.ledger import engine as engines
from evertune.ledger import keys, releases, servers
from evertune.loop.followed import served_here
from evertune.loop.release import promote_by_hand
from evertune.project import Project
from evertune.project.load import find, load
from evertune.records import Release
from evertune.releases import promote
from evertune.serving.shelf import CHECKS, ENGINE, Shelf
from evertune.settings import Settings
from evertune.settings import load as load_settings

SETTLED_S = 1.0
"""Requests that began within this time around a switch count as those beside it."""
PATIENCE_S = 300.0
UNKNOWN_VERSION = 1_000_000
"""Beyond the versions that the registry has."""


def versions_of(history: Sequence[Release]) -> list[int]:
    """The model versions that have answered before and are signed."""
    return sorted({release.model_version for release in history if release.model_version < UNKNOWN_VERSION})


def release_anew(project: Project, settings: Settings, engine: Engine, versions: Sequence[int], turn: int) -> Release:
    """Another generation: the project's versions, one after the other."""
    current = releases.current(engine, project.slug)
    assert current is not None
    version = versions[turn % len(versions)]
    return promote_by_hand(
        project.slug, settings, by="benchmark", model_version=version, expected=current.generation
    )  # fmt: skip


def release_unsigned(project: Project, engine: Engine, server: str) -> int:
    """Another generation, which nobody has signed; returns it when the server has said that it refuses it."""
    current = releases.current(engine, project.slug)
    assert current is not None
    made = promote.promote(
        engine, None, project.slug, UNKNOWN_VERSION + current.generation, f"{current.generation:064x}",
        current.run_key, expected=current.generation, by="benchmark",
    )  # fmt: skip
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        told = next((one for one in servers.all(engine, project.slug) if one.server == server), None)
        if told is not None and told.refused_generation == made.generation:
            return made.generation
        time.sleep(0.1)
    raise SystemExit(f"generation {made.generation}, which nobody signed, was not refused within {PATIENCE_S:.0f} s")


def forget_engines(settings: Settings, slug: str) -> None:
    """Let the next release be converted: what lies on the disk is not needed by a server that runs."""
    shelf = Shelf(settings.home, slug)
    with shelf.locked():
        for generation in shelf.generations():
            shutil.rmtree(shelf.place(generation) / ENGINE, ignore_errors=True)


def until_answered(load_: Load, generation: int) -> float:
    """When the generation's first answer was asked for."""
    deadline, at = time.monotonic() + PATIENCE_S, 0
    while time.monotonic() < deadline:
        at, fresh = len(load_.seen), load_.seen[at:]
        for one in fresh:
            if one.generation == generation:
                return one.began
        time.sleep(0.02)
    raise SystemExit(f"generation {generation} did not answer within {PATIENCE_S:.0f} s")


class Measured(NamedTuple):
    """What was seen."""

    seen: list[Seen]
    switches: list[float]
    delays: list[float]
    """Seconds of each release from the ledger to its first answer."""
    unsigned: list[int]
    """Generations that nobody had signed."""


def _due(every: int, turn: int) -> bool:
    return bool(every) and turn % every == every - 1


def _name_of_server(engine: Engine, slug: str, started: datetime) -> str:
    """The server's name in the ledger, as it reported itself since ``started``."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        if fresh := [one for one in servers.all(engine, slug) if one.reported >= started]:
            return fresh[-1].server
        time.sleep(0.1)
    raise SystemExit(f"the server did not report itself within {PATIENCE_S:.0f} s")


def measure(given: argparse.Namespace, settings: Settings, key: str) -> Measured:
    """Every request, the switches, and the releases that nobody had signed."""
    project = load(find(given.project, settings))
    engine = engines.ready(settings.database_url)
    history = releases.history(engine, project.slug)
    if not history:
        raise SystemExit(f"{project.slug} has no release in {settings.home}: run `evertune run {project.slug}` first.")
    versions = versions_of(history)
    current = max(history, key=lambda release: release.generation)
    served_here(settings, current)
    texts = pq.read_table(Shelf(settings.home, project.slug).place(current.generation) / CHECKS)["text"].to_pylist()
    server, port = _servers.evertune(project.slug, key, settings.home), _servers.free_port()
    measured, started = Measured([], [], [], []), datetime.now(UTC)
    with _servers.running(server, port):
        name = _name_of_server(engine, project.slug, started)
        load_ = Load(server, port, texts[:500], given.clients)
        with load_.running():
            time.sleep(5)
            for turn in range(given.releases):
                if _due(given.refuse_every, turn):
                    measured.unsigned.append(release_unsigned(project, engine, name))
                if _due(given.convert_every, turn):
                    forget_engines(settings, project.slug)
                began = time.perf_counter()
                generation = release_anew(project, settings, engine, versions, turn).generation
                measured.switches.append(until_answered(load_, generation))
                measured.delays.append(measured.switches[-1] - began)
                time.sleep(1.5)
    measured.seen.extend(load_.seen)
    return measured


def show(measured: Measured) -> bool:
    """Print the figures; whether no request failed and none was answered by what nobody had signed."""
    seen, switches, delays, unsigned = measured
    failed = [one for one in seen if one.status != "200"]
    wrong = [one for one in seen if one.generation in unsigned]
    began = np.array([one.began for one in seen])
    took = np.array([one.took for one in seen]) * 1000
    beside = np.zeros(len(seen), bool)
    for switch in switches:
        beside |= np.abs(began - switch) < SETTLED_S
    print(f"{len(seen):,} requests over {len(switches)} releases: {len(failed)} failed or dropped")
    for name, part in (("beside a switch", beside), ("otherwise", ~beside)):
        p50, p99, worst = (*np.quantile(took[part], (0.5, 0.99)), took[part].max()) if part.any() else (0, 0, 0)
        print(f"{name}: {int(part.sum()):,} requests, p50 {p50:.1f} ms, p99 {p99:.1f} ms, worst {worst:.1f} ms")
    if beside.any() and (~beside).any():
        print(f"worst added latency: {took[beside].max() - np.median(took[~beside]):.1f} ms over the usual median")
    print(f"{len(unsigned)} releases that nobody had signed, all refused; {len(wrong)} answers by one of them")
    print(f"from the ledger to the first answer: median {np.median(delays):.1f} s, worst {max(delays):.1f} s")
    return not failed and not wrong


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description="Releases under constant load.")
    parser.add_argument("--releases", type=int, default=50)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--convert-every", type=int, default=25)
    parser.add_argument("--refuse-every", type=int, default=10)
    parser.add_argument("--project", default="review-sentiment")
    given = parser.parse_args()
    settings = load_settings()
    print(describe("onnxruntime", "fastapi", "uvicorn"))
    engine = engines.ready(settings.database_url)
    made, key = keys.create(
        engine, name="benchmark", projects=[given.project], scopes=["predict"], by="benchmark", rate_per_s=100_000
    )
    try:
        measured = measure(given, settings, key)
    finally:
        keys.revoke(engine, made.id, by="benchmark")
    refused = [one for one in servers.all(engine, given.project) if one.refused_generation]
    for one in refused:
        print(f"{one.server} refused generation {one.refused_generation}: {one.reason}")
    return 0 if show(measured) and not refused else 1


if __name__ == "__main__":
    sys.exit(main())
