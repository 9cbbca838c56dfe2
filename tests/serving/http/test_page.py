"""The page at `/`: one document that asks nobody but its own server, and draws what the overview says."""

from __future__ import annotations

import re
import shutil
import socket
import subprocess
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import uvicorn
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.conftest import Start
from tests.serving.http.world import NEWS, REVIEWS, post, predict

from evertune.serving.http.app import app
from evertune.serving.http.quality import Label

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


def test_nothing_is_loaded_from_elsewhere_and_only_the_nonce_runs(client: TestClient) -> None:
    first, second = client.get("/"), client.get("/")
    policy = first.headers["content-security-policy"]
    nonce = re.search(r"script-src 'nonce-([\w-]{20,})'", policy)
    assert nonce is not None
    assert nonce[1] not in second.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http:" not in re.sub(r"http://www\.w3\.org/2000/svg", "", first.text)
    assert "https:" not in first.text
    tags = re.findall(r"<(?:script|style)\b[^>]*>", first.text)
    assert tags
    assert all(f'nonce="{nonce[1]}"' in tag for tag in tags)
    assert not re.search(r"""<[^>]+\s(?:style|on\w+)=["']""", first.text), "the policy would not let this work"
    assert "innerHTML" not in first.text


def test_the_overview_has_numbers_and_no_texts(start: Start) -> None:
    client, service = start()
    (one,) = predict(client, "a good unmistakable phone").json()["predictions"]
    post(client, f"/v1/predictions/{one['id']}/feedback", {"truth": "negative", "comment": "unmistakable"})
    service.live.refuse(NEWS, 2, "It did not warm.")
    response = client.get("/v1/overview")
    assert "unmistakable" not in response.text
    assert one["id"] not in response.text
    news, reviews = response.json()["projects"]
    assert (news["project"], news["refused"]["reason"]) == (NEWS, "It did not warm.")
    assert (reviews["release"]["generation"], reviews["engine"], reviews["f1_at_release"]) == (2, "onnx-int8", 0.9)
    assert reviews["requests_per_minute"] >= 1
    assert reviews["p99_ms"] > 0
    assert sum(minute["requests"] for minute in reviews["minutes"]) == 1
    assert len(reviews["minutes"]) == 60
    assert reviews["quality"][0]["f1"] == 0.0
    assert reviews["f1_history"][0]["labelled"] == 1


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_a_browser_draws_it(tmp_path: Path) -> None:
    service = world.service(tmp_path / "home")
    service.rebuilt |= {REVIEWS, NEWS}
    now = datetime.now(UTC)
    for number in range(200):
        truth = "positive" if number % 10 else "negative"
        at = now - timedelta(hours=200 - number)
        service.quality.add(REVIEWS, Label(str(number), 1 + number // 100, truth, "positive", at))
        service.traffic.answered(REVIEWS, 0.01)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app(service), log_level="warning"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
        thread.start()
        while not server.started:
            time.sleep(0.05)
        address = f"http://127.0.0.1:{listening.getsockname()[1]}/"
        dom = _dom(address, tmp_path / "profile")
        server.should_exit = True
        thread.join(20)
    dom = re.sub(r"<script.*?</script>", "", dom, flags=re.DOTALL)
    assert "as of " in dom
    assert dom.count("<article>") == 2
    assert dom.count("<svg") == 6
    assert len(re.findall(r'class="f1 (?:odd|even)"', dom)) == 2
    assert 'class="switch"' in dom
    assert "bar last" in dom


def _dom(address: str, profile: Path) -> str:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000",
        f"--user-data-dir={profile}", "--dump-dom", address,
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
