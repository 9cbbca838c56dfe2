"""A real process that is told to stop finishes what it accepted, refuses what is new, and leaves a whole log."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.conftest import ROOT
from tests.serving.http import world
from tests.serving.http.world import REVIEWS, bearer
from tests.support import held_port

from evertune.serving.http.app import app
from evertune.serving.http.server import Server
from evertune.serving.log import TrafficLog

PREDICT = f"/v1/projects/{REVIEWS}/predict"


@pytest.fixture
def port() -> Iterator[int]:
    with held_port() as found:
        yield found


@pytest.fixture
def process(tmp_path: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "tests.serving.http.shutdown_target", str(tmp_path), str(port)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "include")])}
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    ) as started:
        for _ in range(6000):
            try:
                httpx.get(f"http://127.0.0.1:{port}/healthz")
                break
            except httpx.TransportError:
                assert started.poll() is None, started.stdout and started.stdout.read()
                time.sleep(0.05)
        yield started
        started.kill()


def _predict(client: httpx.Client, text: str) -> httpx.Response:
    return client.post(PREDICT, json={"texts": text}, headers=bearer("all"))


def _await(happened: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if happened():
            return
        time.sleep(0.01)
    raise AssertionError("it did not happen")


def test_what_was_accepted_is_answered_and_logged_and_what_is_new_is_refused(
    process: subprocess.Popen[str], port: int, tmp_path: Path
) -> None:
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=120) as client, ThreadPoolExecutor(8) as pool:
        accepted = [pool.submit(_predict, client, f"good {number}") for number in range(4)]
        _await(lambda: "evertune_queue_texts 4.0" in client.get("/metrics").text)
        process.send_signal(signal.SIGTERM)
        _await(lambda: client.get("/readyz").status_code == 503)
        late = _predict(client, "late")
        assert late.status_code == 503
        assert late.headers["connection"] == "close"
        assert late.json()["type"] == "urn:evertune:closing"
        assert "retry-after" in late.headers
        (tmp_path / "go").touch()
        answers = [one.result() for one in accepted]
    assert [one.status_code for one in answers] == [200] * 4
    assert process.wait(120) == 0
    assert process.stdout is not None
    assert "ended 0" in process.stdout.read()
    log = TrafficLog(tmp_path)
    stored = [log.find(one.json()["predictions"][0]["id"]) for one in answers]
    assert sorted(one.answer.text for one in stored if one) == [f"good {number}" for number in range(4)]
    with pytest.raises(httpx.TransportError):
        httpx.get(f"http://127.0.0.1:{port}/healthz")


def test_a_second_signal_does_not_wait(tmp_path: Path) -> None:
    service = world.service(tmp_path)
    server = Server(uvicorn.Config(app(service)), service, linger_s=60)
    server.handle_exit(signal.SIGTERM, None)
    assert (service.closing, server.should_exit, server.force_exit) == (True, False, False)
    server.handle_exit(signal.SIGTERM, None)
    assert (server.should_exit, server.force_exit) == (True, True)
    asyncio.run(service.close())
