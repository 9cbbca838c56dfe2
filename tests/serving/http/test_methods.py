"""HEAD is answered as GET is, without a body, wherever GET is answered; another method is told which there are."""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http.conftest import Start
from tests.serving.http.world import REVIEWS, bearer, predict

from evertune.serving.http.service import Openness
from evertune.serving.rates import Rates


def _paths(client: TestClient) -> dict[str, set[str]]:
    """Path, filled with what there is → the methods that its routes say."""
    id_ = predict(client).json()["predictions"][0]["id"]
    made: Any = client.app
    found: dict[str, set[str]] = defaultdict(set)
    for route in made.routes:
        found[route.path.replace("{project}", REVIEWS).replace("{prediction_id}", id_)] |= route.methods
    return found


def _told(response: Any) -> tuple[int, set[str], list[str | None]]:
    """What two answers to the same have in common: a nonce and a time are others in each."""
    same = ("content-type", "cache-control", "www-authenticate", "connection", "allow")
    return response.status_code, set(response.headers), [response.headers.get(name) for name in same]


def test_head_is_answered_as_get_is_without_a_body(client: TestClient) -> None:
    paths = _paths(client)
    for path in [*paths, "/nothing", f"/v1/projects/{REVIEWS}/releases?limit=0"]:
        for key in ("all", "other", "bad", "none"):
            head, get = (client.request(method, path, headers=bearer(key)) for method in ("HEAD", "GET"))
            assert _told(head) == _told(get), (path, key)
            assert head.content == b"" != get.content
            assert int(head.headers["content-length"]) > 0
            if key == "all":
                assert (head.status_code == 200) == ("GET" in paths.get(path, ())), path


def test_head_passes_the_guard_and_pays_as_get_does(start: Start) -> None:
    client, service = start(openness=Openness())
    service.rates = Rates(clock=lambda: 0.0)
    assert {client.head(path).status_code for path in ("/", "/metrics", "/v1/projects", "/docs")} == {401}
    assert client.head("/v1/projects", headers=bearer("slow")).status_code == 200
    refused = client.head("/v1/projects", headers=bearer("slow"))
    assert (refused.status_code, int(refused.headers["retry-after"])) == (429, 1)
    counts = [line for line in service.meters.exposition().decode().splitlines() if 'method="HEAD"' in line]
    assert any('route="/v1/projects"' in line and 'status="200"' in line for line in counts)


def test_another_method_is_told_all_that_there_are(client: TestClient) -> None:
    paths = _paths(client)
    assert paths[f"/v1/projects/{REVIEWS}/review"] >= {"GET", "POST"}
    for path, methods in paths.items():
        allowed = methods | {"HEAD"} if "GET" in methods else methods
        for method in {"OPTIONS", "PUT", "PATCH", "DELETE", "GET", "POST", "BREW"} - allowed:
            response = client.request(method, path, headers=bearer("all"))
            assert response.status_code == 405, (method, path)
            assert response.headers["allow"] == ", ".join(sorted(allowed))
            assert f"Use {response.headers['allow']}." in response.json()["detail"]


@pytest.mark.parametrize(
    "header",
    [
        {"range": "bytes=x-y"},
        {"range": "lines=1-2"},
        {"range": "bytes=999999999-"},
        {"range": "bytes=5-1", "if-range": '"x"'},
        {"if-match": '"x"', "if-unmodified-since": "yesterday"},
        {"if-none-match": "*", "if-modified-since": "x"},
        {"accept": "text/html", "accept-encoding": "x;q=9", "te": "x"},
        {"expect": "the-unexpected"},
    ],
)
def test_headers_that_are_wrong_or_cannot_be_met_refuse_nothing_in_other_words(
    client: TestClient, header: dict[str, str]
) -> None:
    for path, methods in _paths(client).items():
        for method in ("GET", "HEAD", "DELETE"):
            response = client.request(method, path, headers={**bearer("all"), **header})
            assert response.status_code == (200 if method in methods | {"HEAD"} and "GET" in methods else 405), path
            if response.is_error:
                assert response.headers["content-type"] == "application/problem+json"
