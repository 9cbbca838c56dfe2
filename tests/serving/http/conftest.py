from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world

from evertune.serving.http.app import app
from evertune.serving.http.service import Service

Start = Callable[..., tuple[TestClient, Service]]


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts a server with these limits and whatever else :func:`world.service` takes."""
    with ExitStack() as stack:

        def one(**options: Any) -> tuple[TestClient, Service]:
            service = world.service(tmp_path, **options)
            client = TestClient(app(service), base_url="http://127.0.0.1:8080")
            return stack.enter_context(client), service

        yield one


@pytest.fixture
def client(start: Start) -> TestClient:
    return start()[0]
