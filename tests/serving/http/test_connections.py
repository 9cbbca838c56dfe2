"""A client that sends its head slowly, or without end, loses its connection; others are answered meanwhile."""

from __future__ import annotations

import contextlib
import itertools
import json
import resource
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPResponse
from pathlib import Path

import httpx
import pytest
import uvicorn
from tests.serving.http import world

from evertune.serving.http import connections
from evertune.serving.http.app import app
from evertune.serving.http.limits import Limits
from evertune.serving.http.server import Server
from evertune.serving.http.service import Service

PREDICT = f"/v1/projects/{world.REVIEWS}/predict"
MUCH = 2_000_000
"""Bytes that come in several pieces, however busy the server is: it reads a quarter of a megabyte at most at once."""
AUTHORIZED = f"Authorization: {world.bearer('full')['Authorization']}".encode()
HEAD = b"GET /healthz HTTP/1.1\r\nHost: 127.0.0.1\r\n"


class Started:
    """A server that listens."""

    def __init__(self, service: Service, port: int) -> None:
        self.service, self.port = service, port

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=120)

    def answers_others(self) -> bool:
        with contextlib.suppress(httpx.TransportError):  # one that is refused may be closed before it has asked
            return httpx.get(f"http://127.0.0.1:{self.port}/healthz", timeout=120).status_code == 200
        return False


Serving = Callable[[Limits], Started]


@pytest.fixture
def serving(tmp_path: Path) -> Iterator[Serving]:
    """Starts a real server, as `evertune serve` has it, in a thread."""
    with contextlib.ExitStack() as stack:

        def start(limits: Limits) -> Started:
            service = world.service(tmp_path, limits)
            listening = socket.create_server(("127.0.0.1", 0))
            server = Server(uvicorn.Config(app(service), log_level="warning", access_log=False), service, linger_s=0)
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
            thread.start()
            stack.callback(thread.join, 120)
            stack.callback(server.handle_exit, signal.SIGTERM, None)
            for _ in range(5_000):
                if server.started:
                    break
                time.sleep(0.02)
            return Started(service, listening.getsockname()[1])

        yield start


def _rest(connection: socket.socket) -> bytes:
    """What comes until the server closes. A reset is an end, too: the server had more to read."""
    found = b""
    with contextlib.suppress(ConnectionError):
        while part := connection.recv(65_536):
            found += part
    return found


def _trickle(connection: socket.socket, pieces: Iterator[bytes], every_s: float = 0.02) -> bytes:
    """Send the pieces slowly until the server has enough; what it said."""
    connection.settimeout(every_s)
    for piece in itertools.islice(pieces, 5_000):
        with contextlib.suppress(ConnectionError):
            connection.send(piece)
        try:
            first = connection.recv(65_536)
        except TimeoutError:
            continue
        except ConnectionError:
            return b""
        connection.settimeout(120)
        return first + _rest(connection)
    raise AssertionError("the server has patience without end")


def _refused(started: Started, reason: str) -> bool:
    return f'evertune_refused_total{{reason="{reason}"}}'.encode() in started.service.meters.exposition()


def test_a_head_that_trickles_in_is_ended_and_others_are_answered(serving: Serving) -> None:
    started = serving(Limits(head_s=1.0))
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(started.connect()) for _ in range(20)]
        for one in slow:
            one.sendall(HEAD)
        assert started.answers_others()
        said = _trickle(slow[0], itertools.repeat(b"X-Slow: 1\r\n"))
        assert said.startswith(b"HTTP/1.1 408 ")
        assert b"urn:evertune:head-too-slow" in said
        assert all(_rest(one).startswith(b"HTTP/1.1 408 ") for one in slow[1:])
        assert started.answers_others()
    assert _refused(started, "head-too-slow")


def test_a_connection_that_says_nothing_is_closed(serving: Serving) -> None:
    started = serving(Limits(head_s=1.0))
    with started.connect() as silent:
        assert _rest(silent) == b""


def test_one_that_was_answered_may_be_silent_and_ask_again(serving: Serving) -> None:
    started = serving(Limits(head_s=1.0))
    with started.connect() as connection:
        for _ in range(2):
            connection.sendall(HEAD + b"\r\n")
            answer = HTTPResponse(connection)
            answer.begin()
            assert (answer.status, answer.read()) == (200, b'{"status":"ok"}')  # in as many packets as they come
            time.sleep(1.5)


def test_a_body_that_goes_on_behind_its_answer_is_ended(serving: Serving) -> None:
    started = serving(Limits(head_s=1.0))
    with started.connect() as connection:
        connection.sendall(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")
        _trickle(connection, itertools.repeat(b"x"))


@pytest.mark.parametrize("pieces", [1, 200])
@pytest.mark.parametrize("where", ["header", "headers", "path"])
def test_a_head_beyond_all_measure_is_refused(serving: Serving, pieces: int, where: str) -> None:
    started = serving(Limits(head_bytes=20_000))
    long = {
        "header": HEAD + b"X-Long: " + b"x" * 30_000,
        "headers": HEAD + b"X-Many: 1\r\n" * 3_000,
        "path": b"GET /" + b"x" * 30_000,
    }[where]
    if pieces == 1:
        long += {"header": b"\r\n\r\n", "headers": b"\r\n", "path": b" HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"}[where]
    size = -(-len(long) // pieces)
    with started.connect() as connection:
        for at in range(0, len(long), size):
            with contextlib.suppress(ConnectionError):
                connection.sendall(long[at : at + size])
            time.sleep(0.0005)
        said = _rest(connection)
    assert said.startswith(b"HTTP/1.1 431 ") or (pieces > 1 and said == b"")
    assert _refused(started, "head-too-large")
    assert started.answers_others()


@pytest.mark.parametrize(
    "sent",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00" * 100,  # somebody tries TLS
        HEAD + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        HEAD + b"X Y: 1\r\n\r\n",
    ],
)
def test_what_is_no_http_is_told_as_everything_else(serving: Serving, sent: bytes) -> None:
    started = serving(Limits())
    with started.connect() as connection:
        connection.sendall(sent)
        head, _, body = _rest(connection).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"content-type: application/problem+json" in head
    assert json.loads(body)["type"] == "urn:evertune:bad-http"
    assert started.answers_others()


def _chunked(path: str, *more: bytes) -> bytes:
    """A POST with a small body in one piece, whose end, with whatever headers, is still to come."""
    head = [f"POST {path} HTTP/1.1".encode(), b"Host: 127.0.0.1", b"Transfer-Encoding: chunked"]
    head += [b"Content-Type: application/json", *more]
    return b"\r\n".join(head) + b'\r\n\r\n10\r\n{"texts":"good"}\r\n'


@pytest.mark.parametrize("trailers", [b"X-Long: " + b"x" * MUCH, b"X-Many: 1\r\n" * (MUCH // 11)])
@pytest.mark.parametrize(("path", "status"), [("/healthz", b"405 "), (PREDICT, b"431 ")])
def test_headers_without_end_behind_a_body_are_refused_too(
    serving: Serving, trailers: bytes, path: str, status: bytes
) -> None:
    """Whether the answer is there already, or waits for the body's end: both would keep them in the memory."""
    started = serving(Limits(head_bytes=20_000))
    with started.connect() as connection:
        connection.sendall(_chunked(path, AUTHORIZED) + b"0\r\n")
        with contextlib.suppress(ConnectionError):
            connection.sendall(trailers)
        said = _rest(connection)
    assert said.startswith(b"HTTP/1.1 " + status) or said == b""
    assert _refused(started, "head-too-large")
    assert started.answers_others()


def test_an_answer_to_head_sends_no_body_and_leaves_the_connection_in_step(serving: Serving) -> None:
    started = serving(Limits())
    with httpx.Client(base_url=f"http://127.0.0.1:{started.port}", timeout=20) as client:
        for path in ("/docs/swagger-ui-bundle.js", "/", "/nothing", "/healthz"):
            head = client.head(path)
            assert head.status_code == (401 if path == "/nothing" else 200)
            assert int(head.headers["content-length"]) > 0
            assert client.get("/healthz").json() == {"status": "ok"}


def test_who_asks_for_a_websocket_is_answered_as_anybody_else(
    serving: Serving, capfd: pytest.CaptureFixture[str]
) -> None:
    """The class that speaks it has none of the bounds of a connection, and refuses in plain text."""
    started = serving(Limits())
    asked = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13"}
    with httpx.Client(base_url=f"http://127.0.0.1:{started.port}", timeout=20) as client:
        assert client.get("/healthz", headers=asked).json() == {"status": "ok"}
        refused = client.get("/v1/projects", headers=asked)
    assert (refused.status_code, refused.headers["content-type"]) == (401, "application/problem+json")
    assert "pgrade" not in capfd.readouterr().err


def test_a_head_without_end_is_refused_while_an_earlier_request_is_at_work(
    serving: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    started, ended = serving(Limits(head_bytes=20_000)), threading.Event()
    monkeypatch.setattr(started.service.log, "find", lambda _: ended.wait(120) and None)
    with started.connect() as connection:
        connection.sendall(b"GET /v1/predictions/one HTTP/1.1\r\nHost: 127.0.0.1\r\n" + AUTHORIZED + b"\r\n\r\n")
        connection.sendall(HEAD + b"X-Long: ")
        with contextlib.suppress(ConnectionError):
            connection.sendall(b"x" * MUCH)
        assert _rest(connection) == b""
        ended.set()
    assert _refused(started, "head-too-large")
    assert started.answers_others()


def test_headers_behind_a_body_are_none_of_the_request(serving: Serving) -> None:
    started = serving(Limits())
    with started.connect() as connection:
        connection.sendall(_chunked(PREDICT) + b"0\r\n" + AUTHORIZED + b"\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 401 ")


def test_a_body_in_many_small_chunks_is_no_head(serving: Serving) -> None:
    """What frames the pieces is many times as large as the bound; it comes with pieces, and so it counts for none."""
    started = serving(Limits(head_bytes=1_000))
    with started.connect() as connection:
        connection.sendall(_chunked(PREDICT, AUTHORIZED))
        for _ in range(5_000):
            connection.sendall(b"1;ext=0123456789\r\n \r\n")
        connection.sendall(b"0\r\n\r\n")
        assert connection.recv(65_536).startswith(b"HTTP/1.1 200 ")


def test_more_connections_than_there_may_be_are_told_so(serving: Serving) -> None:
    started = serving(Limits(connections=3))
    held = [started.connect() for _ in range(3)]
    with started.connect() as one_more:
        said = _rest(one_more)
    assert said.startswith(b"HTTP/1.1 503 ")
    assert b"retry-after: 1" in said
    for one in held:
        one.close()
    for _ in range(5_000):
        with contextlib.suppress(httpx.HTTPStatusError, httpx.TransportError):
            httpx.get(f"http://127.0.0.1:{started.port}/healthz").raise_for_status()
            return
        time.sleep(0.02)
    raise AssertionError("there is no room again")


def test_slow_bodies_of_one_key_leave_room_for_others(serving: Serving) -> None:
    started = serving(Limits(concurrency=8))
    path = f"/v1/projects/{world.REVIEWS}/predict"
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {world.bearer('full')['Authorization']}\r\n"
    with contextlib.ExitStack() as stack:
        slow = [stack.enter_context(started.connect()) for _ in range(12)]
        for one in slow:
            one.sendall(head.encode() + b"Content-Type: application/json\r\nContent-Length: 100\r\n\r\n{")
        for _ in range(5_000):
            if _refused(started, "concurrency"):
                break
            time.sleep(0.02)
        for name, status in (("full", 503), ("all", 200)):
            url = f"http://127.0.0.1:{started.port}{path}"
            answer = httpx.post(url, json={"texts": "good"}, headers=world.bearer(name), timeout=120)
            assert answer.status_code == status, name


def test_files_are_left_for_the_log(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    service = world.service(tmp_path)
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    assert connections.most_connections(service) == 50


def test_who_never_reads_is_ended_and_keeps_out_nobody(serving: Serving) -> None:
    started = serving(Limits(connections=3, deadline_s=0.5, grace_s=0.1, pipelined=1_000_000))
    with contextlib.ExitStack() as stack:
        for _ in range(3):
            hog = stack.enter_context(socket.socket())
            # Little room for what is answered; what is asked for is more than that and what the server's side buffers.
            hog.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            hog.connect(("127.0.0.1", started.port))
            with contextlib.suppress(ConnectionError):
                hog.sendall(b"GET /review HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" * 5_000)
        for _ in range(1_000):
            if started.answers_others():
                break
            time.sleep(0.1)
        assert started.answers_others()
    assert _refused(started, "not-read")


def test_requests_behind_one_that_is_not_answered_are_bounded(serving: Serving) -> None:
    server = serving(Limits(pipelined=20))
    one = HEAD + b"\r\n"
    with server.connect() as client:
        client.sendall(21 * one)
        answers = b""
        while answers.count(b"HTTP/1.1 200") < 21:
            answers += client.recv(65536)
    with server.connect() as client, contextlib.suppress(ConnectionError):
        client.sendall(2_000 * one)
        while client.recv(65536):
            pass
    assert _refused(server, "pipelined")
