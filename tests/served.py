"""The real server in a process of its own, on a release of the quick project."""

from __future__ import annotations

import contextlib
import json
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import psutil
from tests import quick
from tests.quick import SLUG
from tests.support import held_port

from evertune.settings import Settings

PREDICT = f"/v1/projects/{SLUG}/predict"


class Installed(NamedTuple):
    """A home with one release, and a key to it."""

    where: Settings
    key: str


def install(root: Path, registry: Path, **changes: str) -> Installed:
    """Train, release, make a key. ``changes`` are settings."""
    where = quick.home(root, registry).model_copy(update=changes)
    quick.write(where)
    status, told = quick.evertune(where, "run", SLUG)
    assert (status, told["release"]["generation"]) == (0, 1), told
    return Installed(where, new_key(where))


def new_key(where: Settings) -> str:
    """One that may ask as often as it likes."""
    rights = ["--project", SLUG, "--scope", "predict", "--scope", "feedback", "--rate", "100000"]
    status, made = quick.evertune(where, "keys", "create", "test", *rights)
    assert status == 0, made
    return str(made["key"])


class Running:
    """A server that answers."""

    def __init__(self, process: psutil.Process, port: int, key: str) -> None:
        self.process, self.port = process, port
        self.url = f"http://127.0.0.1:{port}"
        self.headers = {"authorization": f"Bearer {key}"}

    def predict(self, texts: object = "good", key: str | None = None, **more: object) -> httpx.Response:
        """Ask for predictions."""
        headers = self.headers if key is None else {"authorization": f"Bearer {key}"}
        return httpx.post(self.url + PREDICT, json={"texts": texts, **more}, headers=headers, timeout=60)

    def get(self, path: str) -> httpx.Response:
        """GET with the key."""
        return httpx.get(self.url + path, headers=self.headers, timeout=60)

    def metric(self, name: str) -> float:
        """A metric without labels."""
        lines = httpx.get(f"{self.url}/metrics", timeout=60).text.splitlines()
        return next(float(line.split()[1]) for line in lines if line.startswith(f"{name} "))

    def memory_mb(self) -> float:
        """What the process holds."""
        return float(self.process.memory_info().rss) / 1e6


@contextlib.contextmanager
def serving(installed: Installed, *options: str) -> Iterator[Running]:
    """``evertune serve``, killed when the block ends."""
    with held_port() as port:
        command = [sys.executable, "-m", "evertune.cli.main", "serve", "--port", str(port), "--poll", "0.2", *options]
        with subprocess.Popen(command, env=quick.environment(installed.where)) as process:
            try:
                running = Running(psutil.Process(process.pid), port, installed.key)
                until(lambda: process.poll() is None and _answers(running), 600)
                yield running
            finally:
                process.kill()


def _answers(running: Running) -> bool:
    try:
        return running.predict().status_code == 200
    except httpx.TransportError:
        return False


def until(true: Callable[[], Any], seconds: float = 60) -> None:
    """Wait until it is so."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came to that"
        time.sleep(0.1)


class Proxy:
    """Hands TCP on to an address of this machine until it is cut or swallows, and again when it is mended."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open: list[socket.socket] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port = self._listening.getsockname()[1]
        self._whole = True
        self._swallows = False
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listening.accept()
                if not self._whole:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._to))
                self._open += [near, far]
                threading.Thread(target=self._hand_on, args=(near, far), daemon=True).start()
                threading.Thread(target=self._hand_on, args=(far, near), daemon=True).start()

    def _hand_on(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65_536):
                if not self._swallows:
                    sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    def swallow(self) -> None:
        """Take all that comes from either side, and hand nothing on."""
        self._swallows = True

    def cut(self) -> None:
        """Break every connection, and refuse new ones."""
        self._whole = False
        for one in self._open:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
            one.close()
        self._open.clear()

    def mend(self) -> None:
        """Hand on again."""
        self._whole, self._swallows = True, False

    def close(self) -> None:
        """It is over."""
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()
        self._thread.join(20)
        self.cut()


def retry_after(response: httpx.Response) -> int:
    """Seconds that a refusal names; fails where it names none, or is no problem document."""
    assert response.headers["content-type"] == "application/problem+json", response.text
    assert json.loads(response.text)["type"].startswith("urn:evertune:"), response.text
    return int(response.headers["retry-after"])
