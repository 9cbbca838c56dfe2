"""Whatever is sent, the answer says what was wrong; nothing is a 500, nothing is buffered without bound."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.conftest import Start
from tests.serving.http.world import REVIEWS, bearer, post, predict

from evertune.serving.http.app import app
from evertune.serving.http.limits import Limits
from evertune.serving.http.problems import dumps

PATH = f"/v1/projects/{REVIEWS}/predict"


@pytest.mark.parametrize(
    ("body", "status", "kind"),
    [
        (b"", 400, "bad-json"),
        (b"{", 400, "bad-json"),
        (b'{"texts": "good"', 400, "bad-json"),
        (b'{"texts": NaN}', 400, "bad-json"),
        (b'{"texts": "good", "explain": Infinity}', 400, "bad-json"),
        (b'{"texts": "\\ud800 good"}', 400, "bad-json"),
        (b'{"texts": "\xff\xfe"}', 400, "bad-json"),
        (b'{"texts": "\xed\xa0\x80"}', 400, "bad-json"),
        (b'{"texts": "good", "texts": "bad"}', 400, "bad-json"),
        (b'{"texts": "good", "\\u0074exts": "bad"}', 400, "bad-json"),
        (b'{"texts": [{"a": 1, "a": 2}]}', 400, "bad-json"),
        (b"[" * 100_000, 400, "bad-json"),
        (b'{"texts":' + b"[" * 1000 + b"]" * 1000 + b"}", 422, "invalid"),
        (b'["good"]', 422, "invalid"),
        (b'"good"', 422, "invalid"),
        (b"null", 422, "invalid"),
        (b"{}", 422, "invalid"),
        (b'{"texts": []}', 422, "invalid"),
        (b'{"texts": ""}', 422, "invalid"),
        (b'{"texts": " \\t\\n"}', 422, "invalid"),
        (b'{"texts": ["good", ""]}', 422, "invalid"),
        (b'{"texts": null}', 422, "invalid"),
        (b'{"texts": 5}', 422, "invalid"),
        (b'{"texts": ["good", 5]}', 422, "invalid"),
        (b'{"texts": "good", "explain": "yes"}', 422, "invalid"),
        (b'{"texts": "good", "explain": 1}', 422, "invalid"),
        (b'{"texts": "good", "project": "other"}', 422, "invalid"),
        (json.dumps({"texts": "x" * 100_001}).encode(), 422, "invalid"),
        (json.dumps({"texts": ["good"] * 65}).encode(), 422, "invalid"),
    ],
)
def test_a_body_that_is_wrong_is_told_what_is_wrong(client: TestClient, body: bytes, status: int, kind: str) -> None:
    response = post(client, PATH, body)
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    problem = response.json()
    assert problem["type"] == f"urn:evertune:{kind}"
    assert problem["status"] == status
    assert len(problem["detail"]) < 1000


def test_the_faulty_texts_are_named(client: TestClient) -> None:
    errors = predict(client, ["good", "", "x" * 100_001]).json()["errors"]
    assert [error["where"] for error in errors] == ["body.texts[1]", "body.texts[2]"]


def test_a_hundred_thousand_characters_are_allowed(client: TestClient) -> None:
    assert predict(client, "x" * 100_000).status_code == 200


def test_a_surrogate_pair_is_a_character(client: TestClient) -> None:
    assert post(client, PATH, b'{"texts": "good \\ud83d\\ude00"}').status_code == 200


def test_a_name_that_only_looks_doubled_is_none(client: TestClient) -> None:
    assert post(client, PATH, b'{"texts": "he said \\"texts\\": yes, \\"explain\\" : no"}').status_code == 200


@pytest.mark.timeout(20)
def test_half_a_million_wrong_values_are_refused_fast(client: TestClient) -> None:
    body = b'{"texts": [' + b"1," * 500_000 + b"1]}"
    response = post(client, PATH, body)
    assert response.status_code == 422
    assert len(response.content) < 5000


@pytest.mark.timeout(20)  # where each name is looked for among all, minutes
def test_a_name_given_twice_is_found_among_many(client: TestClient) -> None:
    names = ",".join(f'"{number}":1' for number in (*range(90_000), 89_999))
    response = post(client, PATH, f"{{{names}}}".encode())
    assert (response.status_code, response.json()["type"]) == (400, "urn:evertune:bad-json")
    assert "'89999' twice" in response.json()["detail"]


def test_more_members_than_any_model_has_are_one_fault(client: TestClient) -> None:
    names = ",".join(f'"{number}":1' for number in range(90_000))
    response = post(client, PATH, f"{{{names}}}".encode())
    assert response.status_code == 422
    (fault,) = response.json()["errors"]
    assert (fault["where"], "90,000 members" in fault["what"]) == ("body", True)


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json"])
def test_a_body_must_be_declared_as_json(client: TestClient, kind: str) -> None:
    response = post(client, PATH, {"texts": "good"}, **{"content-type": kind})
    assert response.status_code == 415


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "APPLICATION/JSON", "application/vnd.x+json"])
def test_json_may_be_declared_in_other_words(client: TestClient, kind: str) -> None:
    assert post(client, PATH, {"texts": "good"}, **{"content-type": kind}).status_code == 200


@pytest.mark.parametrize(
    "headers", [{"content-encoding": "gzip"}, {"content-type": "application/json; charset=latin-1"}]
)
def test_other_encodings_are_refused(client: TestClient, headers: dict[str, str]) -> None:
    assert post(client, PATH, {"texts": "good"}, **headers).status_code == 415


def test_ten_megabytes_at_once_are_refused_and_the_connection_is_closed(client: TestClient) -> None:
    response = post(client, PATH, b"x" * 10_000_000)
    assert response.status_code == 413
    assert response.headers["connection"] == "close"


async def _ask(where: Path, body: AsyncIterator[bytes], limits: Limits, **more: str) -> httpx.Response:
    """A request whose body comes piece by piece, to an application without a server."""
    service = world.service(where, limits=limits)
    try:
        transport = httpx.ASGITransport(app=app(service))
        async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as client:
            headers = {**bearer("full"), "content-type": "application/json", **more}
            return await client.post(PATH, content=body, headers=headers)
    finally:
        await service.close()


def test_ten_megabytes_in_pieces_are_refused_at_the_first_byte_too_many(tmp_path: Path) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(160):
            sent += 65_536
            yield b"x" * 65_536

    response = asyncio.run(_ask(tmp_path, pieces(), Limits()))
    assert response.status_code == 413
    assert sent <= 1_048_576 + 2 * 65_536


def test_ten_megabytes_that_are_announced_are_refused_before_a_byte_of_them(tmp_path: Path) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(160):
            sent += 65_536
            yield b"x" * 65_536

    response = asyncio.run(_ask(tmp_path, pieces(), Limits(), **{"content-length": "10485760"}))
    assert response.status_code == 413
    assert sent == 0


def test_a_body_that_trickles_in_is_refused_at_the_deadline(tmp_path: Path) -> None:
    body, sent = json.dumps({"texts": "good " * 100}), 0

    async def trickle() -> AsyncIterator[bytes]:
        nonlocal sent
        for character in body:
            sent += 1
            yield character.encode()
            await asyncio.sleep(0.05)

    response = asyncio.run(_ask(tmp_path, trickle(), Limits(deadline_s=0.4)))
    assert response.status_code == 408
    assert response.headers["connection"] == "close"
    assert sent < len(body), "it did not wait for the end"


def test_a_body_in_many_pieces_is_answered(tmp_path: Path) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for character in '{"texts": "good"}':
            yield character.encode()

    assert asyncio.run(_ask(tmp_path, pieces(), Limits())).status_code == 200


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/v1/projects/reviews/predict", 405),
        ("DELETE", "/v1/projects/reviews", 405),
        ("GET", "/v2", 404),
        ("GET", "/v1/projects/", 404),
        ("GET", "/v1/projects/%00", 404),
        ("GET", "/v1/projects/%ed%a0%80", 404),
        ("GET", "/v1/projects/..%2f..%2fetc", 404),
        ("GET", "/v1/predictions/" + "x" * 5000, 404),
        ("GET", "/v1/projects/reviews/releases?limit=0", 422),
        ("GET", "/v1/projects/reviews/releases?limit=x", 422),
        ("GET", "/v1/projects/reviews/releases?limit=" + "9" * 5000, 422),
    ],
)
def test_other_methods_paths_and_parameters(client: TestClient, method: str, path: str, status: int) -> None:
    response = client.request(method, path, headers=bearer("full"))
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"


def test_another_method_is_told_which_one_is_meant(client: TestClient) -> None:
    response = client.get("/v1/projects/reviews/predict", headers=bearer("full"))
    assert "Use POST." in response.json()["detail"]
    assert response.headers["allow"] == "POST"


def test_a_fault_of_the_server_is_a_problem_without_its_insides(
    start: Start, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    client, service = start()

    def fail(*_: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(service.log, "find", fail)
    response = client.get("/v1/predictions/abc", headers=bearer("full"))
    assert response.status_code == 500
    assert response.json()["type"] == "urn:evertune:unexpected"
    assert "hunter2" not in response.text
    assert "hunter2" in caplog.text


def test_more_requests_at_once_than_allowed_are_refused(start: Start) -> None:
    client, _ = start(limits=Limits(concurrency=0))
    response = predict(client)
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert client.get("/healthz").status_code == 200


def test_what_utf_8_cannot_hold_is_answered_as_a_replacement() -> None:
    assert json.loads(dumps({"\ud800": ["a\udfff", (1, None)]})) == {"\ufffd": ["a\ufffd", [1, None]]}
