"""What `evertune serve` hands on of its options."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable

import pytest
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.loop import serve
from evertune.records import EvertuneError
from evertune.serving.http.service import LOOPBACK, Openness
from evertune.settings import Settings


@pytest.mark.parametrize(
    ("options", "openness"),
    [
        ([], LOOPBACK),
        (["--host", "localhost"], LOOPBACK),
        (["--host", "::1"], LOOPBACK),
        (["--closed"], Openness()),
        (["--host", "192.0.2.1"], Openness()),
        (["--host", "answers.example"], Openness()),
    ],
)
def test_only_on_loopback_something_is_open_and_there_unless_it_is_closed(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, options: list[str], openness: Openness
) -> None:
    served: list[serve.Options] = []

    def listen(_: Settings, given: serve.Options, on_listening: Callable[[], object]) -> None:
        served.append(given)
        on_listening()

    monkeypatch.setattr(serve, "serve", listen)
    done = CliRunner().invoke(app, ["serve", "--json", "--port", "8123", *options])
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["address"].endswith(":8123")
    assert [(one.port, one.openness) for one in served] == [(8123, openness)]


def test_a_port_that_is_taken_is_told_and_nothing_is_said_to_be_served(environment: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = CliRunner().invoke(app, ["serve", "--json", "--port", str(port)])
    assert done.stdout == ""
    assert isinstance(done.exception, EvertuneError)
    assert f"cannot listen on port {port} of 127.0.0.1" in str(done.exception)
