"""Memory of the real server with one project and with five, and whether what was switched away gives its back.

    python -m benchmarks.memory [--projects 5] [--releases 20] [--project review-sentiment]

Wants a release: `make demo`, or `evertune run review-sentiment`, in the same EVERTUNE_HOME. Many projects are many
names of its one bundle, in a home of their own, from which the server boots without a ledger: each has sessions of its
own, as different models have. Memory is what belongs to the process alone (USS), after texts of all lengths; pages of
mapped files, which the kernel may take back at any time, are told apart.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import psutil
import pyarrow.parquet as pq
from benchmarks import _servers, swap
from benchmarks._machine import describe

from evertune import files
from evertune.ledger import engine as engines
from evertune.ledger import keys, releases
from evertune.loop.followed import served_here
from evertune.project.load import find, load
from evertune.records import Release
from evertune.serving import key_cache
from evertune.serving.engine.served import read_report
from evertune.serving.shelf import CHECKS, ENGINE, Kept, Shelf
from evertune.settings import Settings
from evertune.settings import load as load_settings

NOWHERE = "postgresql+psycopg2://nobody@127.0.0.1:9/none"
TEXTS = 300
EVERY = 5
"""Releases between two looks at the memory."""


def shelve(settings: Settings, release: Release, slugs: Sequence[str], home: Path) -> str:
    """A home from which a server answers for each of these names with this release; a key to all of them."""
    source = Shelf(settings.home, release.project).place(release.generation)
    report = read_report(source / ENGINE)
    for slug in slugs:
        shelf = Shelf(home, slug)
        place = shelf.place(release.generation)
        shutil.copytree(source, place, ignore=shutil.ignore_patterns("answered.json"))
        shelf.keep(
            Kept(
                release=release.model_copy(update={"project": slug}), about={}, allowed_loss=report.allowed_loss,
                engine=files.digest(place / ENGINE), checks=files.sha256(place / CHECKS),
            )
        )  # fmt: skip
    engine = engines.ready(f"sqlite:///{home / 'ledger.db'}")
    made, key = keys.create(
        engine, name="benchmark", projects=["*"], scopes=["predict"], by="benchmark", rate_per_s=1e5
    )
    engine.dispose()
    key_cache.save(home / "serving" / "keys.json", [made])
    return key


class Memory(NamedTuple):
    """In MB."""

    kept: float
    mapped: float
    """Unchanged pages of files."""

    def __str__(self) -> str:
        return f"{self.kept:.0f} MB and {self.mapped:.0f} of mapped files"


def memory_of(settings: Settings, release: Release, count: int, texts: Sequence[str]) -> Memory:
    """Memory of a server that has answered for so many projects."""
    slugs = [f"{release.project}-{number}" for number in range(count)]
    with tempfile.TemporaryDirectory() as folder:
        key = shelve(settings, release, slugs, Path(folder))
        asked = [_servers.evertune(slug, key, Path(folder)) for slug in slugs]
        first = replace(asked[0], environment={**asked[0].environment, "EVERTUNE_DATABASE_URL": NOWHERE})
        port = _servers.free_port()
        with _servers.running(first, port) as process:
            for server in asked:
                answer_all(server, port, texts)
            mapped = sum(part.private_clean for part in process.memory_maps()) / 1e6
            return Memory(_servers.memory_mb(process) - mapped, mapped)


def answer_all(server: _servers.Server, port: int, texts: Sequence[str]) -> None:
    """Have each text answered; a project that is not there yet is waited for."""
    deadline = time.monotonic() + swap.PATIENCE_S
    while _servers.ask(server, port, texts[0]).status_code != 200:
        if time.monotonic() > deadline:
            raise SystemExit(f"{server.path} does not answer")
        time.sleep(0.2)
    for text in texts:
        _servers.ask(server, port, text).raise_for_status()


def over_releases(settings: Settings, slug: str, count: int, texts: Sequence[str]) -> list[tuple[int, float]]:
    """Releases switched in so far, and MB then."""
    engine, project = engines.ready(settings.database_url), load(find(slug, settings))
    versions = swap.versions_of(releases.history(engine, slug))
    made, key = keys.create(
        engine, name="benchmark", projects=[slug], scopes=["predict"], by="benchmark", rate_per_s=1e5
    )
    server, port = _servers.evertune(slug, key, settings.home), _servers.free_port()
    try:
        with _servers.running(server, port) as process:
            found = [(0, _after(server, port, texts, process))]
            for turn in range(count):
                generation = swap.release_anew(project, settings, engine, versions, turn).generation
                _until(server, port, generation)
                if (turn + 1) % EVERY == 0:
                    found.append((turn + 1, _after(server, port, texts, process)))
            return found
    finally:
        keys.revoke(engine, made.id, by="benchmark")


def _after(server: _servers.Server, port: int, texts: Sequence[str], process: psutil.Process) -> float:
    answer_all(server, port, texts)
    return _servers.memory_mb(process)


def _until(server: _servers.Server, port: int, generation: int) -> None:
    deadline = time.monotonic() + swap.PATIENCE_S
    while _servers.ask(server, port, "Good.").json()["release"]["generation"] != generation:
        if time.monotonic() > deadline:
            raise SystemExit(f"generation {generation} did not answer within {swap.PATIENCE_S:.0f} s")
        time.sleep(0.1)


def main() -> int:
    """Measure and show."""
    parser = argparse.ArgumentParser(description="Memory of the server.")
    parser.add_argument("--projects", type=int, default=5)
    parser.add_argument("--releases", type=int, default=20)
    parser.add_argument("--project", default="review-sentiment")
    given = parser.parse_args()
    settings = load_settings()
    print(describe("onnxruntime", "fastapi", "uvicorn"))
    release = releases.current(engines.ready(settings.database_url), given.project)
    if release is None:
        raise SystemExit(
            f"{given.project} has no release in {settings.home}: run `evertune run {given.project}` first."
        )
    served = served_here(settings, release)
    place = Shelf(settings.home, given.project).place(release.generation)
    texts = pq.read_table(place / CHECKS)["text"].to_pylist()[:TEXTS]
    texts += ["It is long. " * 200]  # as long as the model takes
    one, many = (memory_of(settings, release, count, texts) for count in (1, given.projects))
    size = sum(path.stat().st_size for path in (place / ENGINE).iterdir())
    print(f"{served.engine.kind}, engine of {size / 1e6:.0f} MB")
    further = Memory(*((last - first) / max(1, given.projects - 1) for first, last in zip(one, many, strict=True)))
    print(f"1 project: {one}; {given.projects} projects: {many}; each further one {further}")
    for count, megabytes in over_releases(settings, given.project, given.releases, texts):
        print(f"after {count} releases: {megabytes:.0f} MB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
