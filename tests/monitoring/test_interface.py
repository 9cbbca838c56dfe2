"""Evidently's interface behind its guard: for this machine, for looking only, with no script but its own."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest
from starlette.testclient import TestClient
from tests.monitoring.made_samples import findings, sample, window
from tests.support import held_port

from evertune.monitoring import interface, report, workspace
from evertune.monitoring.interface import Message, Receive, Send
from evertune.monitoring.reference import Reference
from evertune.records.traffic import Signal

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
SERIES = f"/api/v2/snapshots/{workspace.project_id('reviews')}/data_series_batch"


async def inner(scope: Message, receive: Receive, send: Send) -> None:
    headers = [(b"set-cookie", b"a=b"), (b"content-type", b"text/plain")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": b"inner"})


@pytest.fixture
def client() -> TestClient:
    return TestClient(interface.guarded(inner, "default-src 'none'"), base_url="http://127.0.0.1:8085")


@pytest.mark.parametrize("host", ["127.0.0.1:8085", "localhost", "localhost:1", "[::1]:8085"])
def test_this_machine_is_answered(client: TestClient, host: str) -> None:
    answer = client.get("/projects", headers={"host": host})
    assert (answer.status_code, answer.text) == (200, "inner")


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "127.0.0.1:80:80", "localhost@evil", ""])
def test_a_name_that_was_made_to_point_here_is_refused(client: TestClient, host: str) -> None:
    assert client.get("/", headers={"host": host}).status_code == 421


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("DELETE", f"/api/projects/{workspace.project_id('reviews')}"),
        ("POST", "/api/projects/"),
        ("PUT", SERIES),
        ("POST", f"{SERIES}/x"),
        ("POST", f"/api/datasets/upload?{SERIES}"),
        ("OPTIONS", "/"),
    ],
)
def test_nothing_is_changed(client: TestClient, method: str, path: str) -> None:
    assert client.request(method, path).status_code == 403


def test_every_answer_has_the_policy_and_no_cookie(client: TestClient) -> None:
    for answer in (client.get("/"), client.post(SERIES), client.delete("/"), client.get("/", headers={"host": "x"})):
        assert answer.headers["content-security-policy"] == "default-src 'none'"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "set-cookie" not in answer.headers


class Started(NamedTuple):
    url: str
    workspace: Path


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Started]:
    folder = tmp_path_factory.mktemp("evidently")
    with held_port() as port:
        command = [sys.executable, "-m", "evertune.monitoring.interface", str(folder / "w"), "--port", str(port)]
        with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
            try:
                url = f"http://127.0.0.1:{port}"
                _await(f"{url}/api/version")
                yield Started(url, folder / "w")
            finally:
                process.terminate()


def _await(url: str) -> None:
    deadline = time.monotonic() + 600
    while time.monotonic() < deadline:
        try:
            if httpx.get(url).status_code == 200:
                return
        except httpx.HTTPError:
            time.sleep(0.2)
    raise TimeoutError(url)


@pytest.mark.integration
@pytest.mark.filterwarnings("ignore")  # Evidently's libraries warn of one another
def test_a_window_shows_up_while_it_runs(started: Started, tmp_path: Path) -> None:
    known, traffic = Reference.of(sample(300)), sample(100, odd=0.5, seed=1)
    for number in (1, 2):
        about = window(100, number=number)
        report.write(about, known, traffic, traffic, findings(0.1 * number, 0.01), tmp_path / str(number),
                     raised=[Signal.F1] if number == 2 else ())  # fmt: skip
        workspace.add(started.workspace, about, tmp_path / str(number))

    reports = _reports(started, 2)
    assert {one["name"]: one["tags"] for one in reports} == {"window 1": [], "window 2": ["alert"]}
    asked = {"series_filter": [{"tags": [], "metadata": {}, "metric": "*", "metric_labels": {}}]}
    series = httpx.post(started.url + SERIES, json=asked)
    assert series.status_code < 300, series.text
    effects = [one for one in series.json()["series"] if one["params"].get("signal") == "f1"]
    assert [one["values"] for one in effects] == [[0.1, 0.2]], "one line a signal, not one a window"
    page = httpx.get(started.url + workspace.path_of(window(100)))
    assert "script-src 'self' 'sha256-" in page.headers["content-security-policy"]
    assert httpx.get(started.url, headers={"host": "evil.example"}).status_code == 421


def _reports(started: Started, wanted: int) -> list[dict[str, object]]:
    deadline = time.monotonic() + 120
    found: list[dict[str, object]] = []
    while len(found) < wanted and time.monotonic() < deadline:
        answer = httpx.get(f"{started.url}/api/projects/{workspace.project_id('reviews')}/reports")
        found = answer.json() if answer.status_code == 200 else []
        time.sleep(0.2)
    return found


@pytest.mark.integration
@pytest.mark.browser
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_draws_the_report_under_the_policy(started: Started, tmp_path: Path) -> None:
    about = window(100, number=7)
    traffic = sample(100)
    report.write(about, Reference.of(sample(300)), traffic, traffic, findings(0.1, 0.01), tmp_path / "r")
    workspace.add(started.workspace, about, tmp_path / "r")
    _reports(started, 1)
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=15000",
        f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom", started.url + workspace.path_of(about),
    ]  # fmt: skip
    dom = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
    assert "embedding: raised no alert" in dom
