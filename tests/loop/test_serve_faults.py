"""The real server when it is asked too much, too slowly, without a ledger, and on a full disk: it stays a server."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import itertools
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import httpx
import pytest
from benchmarks import log
from sqlalchemy import make_url
from tests import served
from tests.ledgers import on_postgresql
from tests.quick import SLUG
from tests.served import PREDICT, Installed, Running, until
from tests.support import small_disk

from evertune.ledger import engine as engines
from evertune.ledger import segments

pytestmark = pytest.mark.faults

WORDS = "the film was very good and the story is great but it was a poor book and a bad phone"
DEAR = {"texts": [f"{WORDS} {number}" for number in range(8)], "explain": True}
"""A request whose words are each left out once: small to send, dear to answer."""
OVERLOAD, SECONDS = 5, 3


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory, registry: Path) -> Installed:
    return served.install(tmp_path_factory.mktemp("faults"), registry)


def _all_found(running: Running, ids: list[str]) -> bool:
    some = ids[:: max(1, len(ids) // 20)]
    return all(running.get(f"/v1/predictions/{id_}").status_code == 200 for id_ in some)


# -- asked too much


def _sustainable(running: Running) -> float:
    """Dear requests a second that the server answers when four clients ask without a pause."""
    counts = []

    def ask() -> None:
        with httpx.Client(headers=running.headers, timeout=30) as client:
            end = time.monotonic() + 2
            while time.monotonic() < end:
                assert client.post(running.url + PREDICT, json=DEAR).status_code == 200
                counts.append(1)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    return len(counts) / 2


async def _at_rate(running: Running, rate: float, requests: int) -> list[httpx.Response]:
    """Ask at this rate, whether answers come or not."""
    limits = httpx.Limits(max_connections=None)
    async with httpx.AsyncClient(headers=running.headers, timeout=60, limits=limits) as client:
        began, sent = time.monotonic(), []
        for number in range(requests):
            await asyncio.sleep(max(0.0, began + number / rate - time.monotonic()))
            sent.append(asyncio.create_task(client.post(running.url + PREDICT, json=DEAR)))
        return await asyncio.gather(*sent)


def test_five_times_what_it_can_answer_is_refused_in_part_and_the_rest_is_answered(installed: Installed) -> None:
    with served.serving(installed) as running:
        rate = OVERLOAD * _sustainable(running)
        memory = running.memory_mb()
        answers = asyncio.run(_at_rate(running, rate, max(200, int(rate * SECONDS))))
        by_status = collections.defaultdict(list)
        for one in answers:
            by_status[one.status_code].append(one)
        assert by_status.keys() == {200, 503}, {status: len(some) for status, some in by_status.items()}
        assert all(served.retry_after(one) >= 1 for one in by_status[503])
        ids = [row["id"] for one in by_status[200] for row in one.json()["predictions"]]
        assert len(set(ids)) == 8 * len(by_status[200])
        assert running.memory_mb() < memory + 200
        assert running.metric("evertune_queue_texts") == 0, "what was accepted is finished"
        assert _all_found(running, ids)
        assert running.predict().status_code == 200


# -- asked too slowly


class Slow:
    """Connections on which a request never becomes whole, a byte after the other."""

    def __init__(self, running: Running, count: int) -> None:
        head = f"POST {PREDICT} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {running.headers['authorization']}\r\n"
        body = head + "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n"
        self._port, self._ended = running.port, threading.Event()
        self._all = [self._open(head if number % 2 else body) for number in range(count)]
        self._thread = threading.Thread(target=self._trickle)

    def _open(self, begun: str) -> socket.socket:
        made = socket.create_connection(("127.0.0.1", self._port), timeout=20)
        made.sendall(begun.encode())
        return made

    def _trickle(self) -> None:
        for one in itertools.cycle(self._all):
            if self._ended.wait(0.001):
                return
            with contextlib.suppress(OSError):
                one.send(b"x")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for one in self._all:
            one.close()

    def told(self) -> bytes:
        """What the server says to the first, and then to the second; it closes both."""
        said = b""
        for one in self._all[:2]:
            with contextlib.suppress(ConnectionError):
                while part := one.recv(65_536):
                    said += part
        return said


def test_hundreds_that_send_byte_by_byte_keep_nobody_else_waiting(installed: Installed) -> None:
    other = served.new_key(installed.where)
    with served.serving(installed) as running, Slow(running, 600) as slow:
        until(lambda: len(running.process.net_connections()) > 600)
        statuses = [running.predict(WORDS, key=other).status_code for _ in range(100)]
        assert set(statuses) == {200}
        said = slow.told()
        assert b"urn:evertune:body-too-slow" in said
        assert b"urn:evertune:head-too-slow" in said
        assert running.predict(WORDS, key=other).status_code == 200


# -- without a ledger


@pytest.fixture
def behind_proxy(tmp_path: Path, registry: Path) -> Iterator[tuple[Installed, served.Proxy, str]]:
    """An installation whose ledger is PostgreSQL behind a proxy, the proxy, and the ledger's own address."""
    with on_postgresql() as url:
        engines.upgrade(url)
        proxy = served.Proxy(make_url(url).port or 5432)
        behind = make_url(url).set(port=proxy.port).render_as_string(hide_password=False)
        try:
            yield served.install(tmp_path, registry, database_url=behind), proxy, url
        finally:
            proxy.close()


@pytest.mark.services
def test_without_its_ledger_it_goes_on_and_tells_it_later(
    behind_proxy: tuple[Installed, served.Proxy, str],
) -> None:
    installed, proxy, url = behind_proxy
    ledger = engines.ready(url)
    with served.serving(installed, "--segment", "1") as running:
        ids = [running.predict().json()["predictions"][0]["id"]]
        until(lambda: segments.all(ledger))
        proxy.cut()
        until(lambda: running.metric("evertune_ledger_readable") == 0)
        before = len(segments.all(ledger))  # what was told while it was cut has arrived, or never will
        for _ in range(3):  # segments are closed meanwhile, and keys asked for that would have to be read
            response = running.predict([WORDS] * 3)
            assert response.status_code == 200
            ids += [row["id"] for row in response.json()["predictions"]]
            assert running.predict(key="evt_" + "x" * 12 + "_" + "y" * 43).status_code == 503, (
                "only the ledger could know it"
            )
            time.sleep(1.2)
        away = running.get(f"/v1/projects/{SLUG}/releases")
        assert (away.status_code, away.json()["type"]) == (503, "urn:evertune:ledger-away")
        assert served.retry_after(away) >= 1
        assert len(segments.all(ledger)) == before
        assert _all_found(running, ids)
        proxy.mend()
        until(lambda: running.metric("evertune_ledger_readable") == 1)
        until(lambda: sum(one.hours.get(SLUG) is not None for one in segments.all(ledger)) > before)
        until(lambda: sum(one.records for one in segments.all(ledger)) >= running.metric("evertune_log_records_total"))
        assert running.predict(key=served.new_key(installed.where)).status_code == 200
        assert running.get(f"/v1/projects/{SLUG}/releases").status_code == 200
    ledger.dispose()


# -- killed


def test_kill_9_under_http_load_loses_and_doubles_nothing(installed: Installed, tmp_path: Path) -> None:
    with served.serving(installed):
        pass  # so that its release is on the disk
    found = log.kill_the_server(installed.where, SLUG, tmp_path, kills=3)
    assert (found.lost, found.doubled, found.wrong_rows) == (0, 0, 0), found
    assert found.acknowledged > 100
    assert found.rows >= 3


# -- on a full disk


def test_on_a_full_disk_it_refuses_and_with_room_again_it_answers(installed: Installed) -> None:
    traffic = installed.where.home / "traffic"
    with small_disk(traffic, "300k") as resize, served.serving(installed) as running:
        ids: list[str] = []
        for _ in range(200):
            response = running.predict([WORDS] * 8)
            if response.status_code != 200:
                break
            ids += [row["id"] for row in response.json()["predictions"]]
        assert response.status_code == 503
        problem = response.json()
        assert (problem["type"], problem["title"]) == ("urn:evertune:log-full", "Answers cannot be logged")
        assert "unlogged nothing is answered" in problem["detail"]
        assert str(installed.where.home) not in response.text
        assert served.retry_after(response) >= 1
        assert ids
        assert httpx.get(f"{running.url}/healthz").status_code == 200
        assert _all_found(running, ids)
        resize("20m")
        until(lambda: running.predict().status_code == 200)
        assert _all_found(running, ids)
        assert running.predict([WORDS] * 8).status_code == 200
