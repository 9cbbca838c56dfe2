"""A request ends at its deadline wherever it hangs: in the log's disk, in a look-up, in GraphQL."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
from tests.serving.http.conftest import Start
from tests.serving.http.world import REVIEWS, bearer, post, predict
from tests.serving.log.made import Disk

from evertune.serving.http.limits import Limits
from evertune.serving.http.service import Service

SOON = Limits(deadline_s=1.0, grace_s=0.1)
LOST = f'mutation {{ predict(project: "{REVIEWS}", texts: ["good"]) {{ predictions {{ id }} }} }}'


@pytest.fixture
def released() -> Iterator[threading.Event]:
    """What hangs goes on when the test is over, so that the server can end."""
    event = threading.Event()
    yield event
    event.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    return Disk(monkeypatch)


def test_a_log_whose_disk_hangs_is_as_one_whose_disk_is_full(
    start: Start, disk: Disk, released: threading.Event
) -> None:
    client, service = start(limits=SOON)
    disk.hold = released
    response = predict(client)
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:log-full")
    found = post(client, "/graphql", {"query": LOST}).json()
    assert found["errors"][0]["extensions"]["type"] == "urn:evertune:log-full"
    assert service.batcher.depth == 0
    released.set()


def test_where_a_project_says_so_it_answers_unlogged_instead(
    start: Start, disk: Disk, released: threading.Event
) -> None:
    client, _ = start(limits=SOON, log_unavailable="answer")
    disk.hold = released
    response = predict(client)
    assert (response.status_code, response.json()["predictions"][0]["id"]) == (200, None)
    released.set()


def test_feedback_waits_no_longer_for_the_disk(start: Start, disk: Disk, released: threading.Event) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    disk.hold, service.limits = released, SOON
    response = post(client, f"/v1/predictions/{one['id']}/feedback", {"truth": "positive"})
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:deadline")
    assert "retry-after" in response.headers
    assert 'evertune_refused_total{reason="deadline"} 1.0' in client.get("/metrics").text
    released.set()


def test_a_look_up_that_hangs_ends(start: Start, released: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start(limits=SOON)
    _hang(service, released, monkeypatch)
    response = client.get("/v1/predictions/some", headers=bearer("full"))
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:deadline")
    response = post(client, "/graphql", {"query": '{ prediction(id: "some") { text } }'})
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:deadline")
    assert service.graphql_busy == 0
    released.set()


def _hang(service: Service, released: threading.Event, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(*_: object) -> None:
        released.wait(120)

    monkeypatch.setattr(service.log, "find", find)


def test_a_fault_that_is_called_a_timeout_is_no_deadline(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start()

    def find(*_: object) -> None:
        raise TimeoutError("a file system's")

    monkeypatch.setattr(service.log, "find", find)
    assert client.get("/v1/predictions/some", headers=bearer("full")).status_code == 500
