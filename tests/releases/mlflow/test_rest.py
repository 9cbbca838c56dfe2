"""What a server may do to us: refuse, hang, break, be gone. A little server that does it, on a real socket."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import ClassVar

import pytest
from tests.served import until

from evertune.records import EvertuneError, UnreachableError
from evertune.releases.mlflow import rest
from evertune.releases.mlflow.rest import RestStore
from evertune.releases.mlflow.store import Point, connect
from evertune.settings import load


class Handler(BaseHTTPRequestHandler):
    status, body, hang_s = 200, b"{}", 0.0
    seen: ClassVar[list[tuple[str, str, str | None]]] = []

    def do_GET(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        type(self).seen.append((self.command, self.path, self.headers.get("Authorization")))
        time.sleep(self.hang_s)
        self.send_response(self.status)
        self.send_header("Content-Length", str(len(self.body)))
        self.end_headers()
        with contextlib.suppress(BrokenPipeError):  # whoever asked has given up
            self.wfile.write(self.body)

    do_POST = do_GET  # noqa: N815 - the name that http.server calls

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def served(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[type[Handler], str]]:
    monkeypatch.setattr(rest, "_PAUSES_S", (0.01, 0.01))
    monkeypatch.delenv("MLFLOW_TRACKING_USERNAME", raising=False)
    handler = type("Own", (Handler,), {"seen": []})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield handler, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_nobody_there_is_said_in_words(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PAUSES_S", (0.01,))
    where = load({"EVERTUNE_HOME": str(tmp_path), "EVERTUNE_MLFLOW_URI": "http://me:secret@127.0.0.1:9"})
    with pytest.raises(UnreachableError, match=r"MLflow at http://127\.0\.0\.1:9 does not answer") as caught:
        connect(where).set_alias("x", "champion", 1)
    assert "secret" not in str(caught.value)


def test_a_server_that_hangs_is_given_up_in_time(served: tuple[type[Handler], str]) -> None:
    handler, uri = served
    handler.hang_s = 60.0
    with pytest.raises(UnreachableError, match="does not answer"):  # waiting 60 s for the answer would give it one
        RestStore(uri, 0.2).find_alias("x", "champion")
    until(lambda: len(handler.seen) == 3)


def test_a_write_whose_answer_is_lost_is_not_done_twice(served: tuple[type[Handler], str]) -> None:
    handler, uri = served
    handler.hang_s = 60.0
    with pytest.raises(UnreachableError):
        RestStore(uri, 0.2).create_run("1", "x", {})
    until(lambda: bool(handler.seen))
    assert len(handler.seen) == 1
    handler.hang_s, handler.status = 0.0, 503
    with pytest.raises(UnreachableError, match="503"):
        RestStore(uri, 60.0).create_run("1", "x", {})
    assert len(handler.seen) == 2


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_login_names_the_variables(served: tuple[type[Handler], str], status: int) -> None:
    handler, uri = served
    handler.status = status
    with pytest.raises(EvertuneError, match="MLFLOW_TRACKING_USERNAME") as caught:
        RestStore(uri, 60.0).find_alias("x", "champion")
    assert not isinstance(caught.value, UnreachableError)


@pytest.mark.parametrize(
    "body", [b"<html>no json", json.dumps({"error_code": "BAD_REQUEST", "message": "no"}).encode()]
)
def test_any_other_refusal_is_handed_on(served: tuple[type[Handler], str], body: bytes) -> None:
    handler, uri = served
    handler.status, handler.body = 400, body
    with pytest.raises(EvertuneError, match=r"refuses /api/2\.0/mlflow/runs/log-batch.*400"):
        RestStore(uri, 60.0).log("run", [Point("a", 1.0, 1, 1)], {})


def test_what_is_not_there_is_none(served: tuple[type[Handler], str]) -> None:
    handler, uri = served
    handler.status, handler.body = 404, json.dumps({"error_code": "RESOURCE_DOES_NOT_EXIST"}).encode()
    assert RestStore(uri, 60.0).find_alias("x", "champion") is None


@pytest.mark.parametrize(
    ("variables", "header"),
    [
        ({"MLFLOW_TRACKING_USERNAME": "u", "MLFLOW_TRACKING_PASSWORD": "p"}, "Basic dTpw"),
        ({"MLFLOW_TRACKING_TOKEN": "t"}, "Bearer t"),
        ({}, None),
    ],
)
def test_the_login_is_sent(
    served: tuple[type[Handler], str], monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], header: str | None
) -> None:
    handler, uri = served
    handler.body = json.dumps({"model_version": {"version": "3"}}).encode()
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert RestStore(uri, 60.0).find_alias("x", "champion") == 3
    assert handler.seen[0][2] == header
