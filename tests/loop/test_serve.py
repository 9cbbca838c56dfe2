"""The real server on a real release: trained, converted, asked over HTTP, swapped under load, killed, ended."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow.dataset as ds
import pytest
from tests import quick, served
from tests.quick import SLUG, evertune
from tests.served import Installed
from tests.support import ROOT, held_port

from evertune.client import Client, ProblemError
from evertune.ledger import engine as engines
from evertune.ledger import segments, servers

pytestmark = pytest.mark.integration

TEXTS = ["It works very well, write to bob@example.com", "It broke after two days."]


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, registry: Path) -> Installed:
    return served.install(tmp_path_factory.mktemp("serve"), registry)


@contextlib.contextmanager
def server(environment: dict[str, str]) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    with held_port() as port:
        command = [sys.executable, "-m", "evertune.cli.main", "serve", "--port", str(port), "--poll", "0.2"]
        with subprocess.Popen(command, env=environment, cwd=ROOT) as process:
            try:
                yield process, f"http://127.0.0.1:{port}"
            finally:
                process.kill()


def await_generation(client: Client, generation: int) -> None:
    deadline = time.monotonic() + 300  # a conversion gives way to whatever else runs
    while True:
        with contextlib.suppress(ProblemError):
            found = client.project(SLUG).release
            if found is not None and found.generation == generation:
                return
        assert time.monotonic() < deadline, f"generation {generation} never answered"
        time.sleep(0.2)


def test_a_release_answers_is_swapped_under_load_and_survives(installed: Installed) -> None:
    where, key = installed
    environment = quick.environment(where)
    with server(environment) as (process, url), Client(url, key) as client:
        await_generation(client, 1)
        answer = client.predict(SLUG, TEXTS, explain=True)
        assert answer.release.generation == 1
        ids = [one.id for one in answer.predictions]
        stored = client.prediction(str(ids[0]))
        assert "bob@example.com" not in stored.text
        assert stored.lineage is not None
        assert stored.lineage.dataset_version
        assert stored.lineage.sources
        client.feedback(str(ids[0]), truth=answer.predictions[0].label)
        assert client.project(SLUG).quality[0].labelled == 1
        (waiting,) = client.review(SLUG).rows  # the other answer has its label
        assert (waiting.id, waiting.label) == (ids[1], answer.predictions[1].label)
        assert client.label(SLUG, [{"id": waiting.id, "label": waiting.label, "pick": waiting.pick}]) == 1
        assert client.review(SLUG).rows == ()
        _imported_labels_count(installed, client, answer.predictions[0].id)
        assert client.project(SLUG).card

        found = _swap_under_load(installed, url)
        assert {status for status, _ in found} == {"ok"}
        assert {generation for _, generation in found} == {1, 2}
        reported = servers.all(engines.ready(where.database_url), SLUG)
        assert [(one.generation, one.refused_generation) for one in reported] == [(2, None)]

        process.send_signal(signal.SIGKILL)
        process.wait()

    # Everything else is away: the ledger, MLflow, the project file. The disk has the release, the keys and the log.
    away = where.home.with_name("away")
    for name in ("ledger.db", "mlflow"):
        away.mkdir(exist_ok=True)
        shutil.move(where.home / name, away / name)
    gone = {**environment, "EVERTUNE_DATABASE_URL": "postgresql+psycopg2://nobody@127.0.0.1:9/none"}
    with server(gone) as (process, url), Client(url, key) as client:
        await_generation(client, 2)
        last = client.predict(SLUG, TEXTS)
        assert client.prediction(str(ids[1])).label == answer.predictions[1].label  # logged before the kill
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    for name in ("ledger.db", "mlflow"):
        shutil.move(away / name, where.home / name)

    with server(environment) as (process, url), Client(url, key) as client:
        await_generation(client, 2)
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    rows = ds.dataset(where.home / "traffic" / "parquet", format="parquet").to_table(columns=["id"])["id"].to_pylist()
    assert len(rows) == len(set(rows))
    assert {*ids, *(one.id for one in last.predictions)} <= set(rows)
    assert sum(one.records for one in segments.all(engines.ready(where.database_url))) >= len(set(rows))


def _imported_labels_count(installed: Installed, client: Client, id_: str | None) -> None:
    """What ``evertune labels import`` keeps, another process, is in the scores of the server that runs."""
    labels = client.project(SLUG).labels
    path = installed.where.home.with_name("labels.jsonl")
    path.write_text(
        json.dumps({"id": id_, "label": next(one for one in labels if one != client.prediction(str(id_)).label)})
    )
    assert client.project(SLUG).quality[0].accuracy == 1.0
    status, told = evertune(installed.where, "labels", "import", SLUG, str(path))
    assert (status, told["kept"]) == (0, 1)
    deadline = time.monotonic() + 60
    while client.project(SLUG).quality[0].accuracy:
        assert time.monotonic() < deadline, "the imported label never counted"
        time.sleep(0.5)


def _swap_under_load(installed: Installed, url: str) -> list[tuple[str, int]]:
    """Let generation 2 answer while four clients ask without a pause; what each of them got."""
    found: list[tuple[str, int]] = []
    ended = threading.Event()

    def ask() -> None:
        with Client(url, installed.key, retries=0) as client:
            while not ended.is_set():
                try:
                    found.append(("ok", client.predict(SLUG, TEXTS[1]).release.generation))
                except ProblemError as fault:
                    found.append((str(fault), 0))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        status, told = evertune(installed.where, "release", "promote", SLUG, "--model-version", "1")
        assert status == 0, told
        with Client(url, installed.key) as client:
            await_generation(client, 2)
        time.sleep(0.5)
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    return found
