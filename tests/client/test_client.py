"""The client does what the OpenAPI document says, whole, and waits where the server says so."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from pydantic import BaseModel
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.world import KEYS, REVIEWS

from evertune.client import Client, Fault, ProblemError, answers, server_answers
from evertune.serving.http.app import app

NAMES = {"ReleaseOut": "Release", "RefusalOut": "RefusedRelease", "RollingOut": "Rolling", "ProjectOut": "Project",
         "FeedbackOut": "Feedback", "MinuteOut": "Minute", "PointOut": "Point", "ReviewOut": "Review",
         "ReviewKept": "Kept"}  # fmt: skip
SENT = {"PredictBody": "predict", "FeedbackBody": "feedback", "GraphQLBody": "graphql", "ReviewBody": "label"}
"""A request's body in the document → the method that takes its fields as arguments."""
OF_PROBLEMS = {"Problem", "Fault"}
LATER = {("Feedback", "origin"), ("StoredPrediction", "feedback_total"), ("Readiness", "loading")}
"""What the first servers did not send: the client does without."""
PARTS = {"ReviewLabel"}
"""Parts of bodies: the client takes them as they are."""


class Over(httpx.BaseTransport):
    """Sends through starlette's test client instead of a network."""

    def __init__(self, client: TestClient) -> None:
        self.client = client

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        sent = self.client.request(
            request.method, str(request.url), content=request.read(), headers=dict(request.headers)
        )  # fmt: skip
        headers = {name: value for name, value in sent.headers.items() if name != "content-length"}
        return httpx.Response(sent.status_code, headers=headers, content=sent.content)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[TestClient]:
    with TestClient(app(world.service(tmp_path)), base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def client(server: TestClient) -> Iterator[Client]:
    with Client("http://127.0.0.1", KEYS["all"][1], transport=Over(server)) as client:
        yield client


@pytest.fixture
def document(server: TestClient) -> Any:
    return server.get("/openapi.json").json()


def _operations(document: Any) -> dict[str, Any]:
    return {one["operationId"]: one for operations in document["paths"].values() for one in operations.values()}


def test_every_operation_is_a_method_with_its_parameters(document: Any) -> None:
    operations = _operations(document)
    methods = {
        name for name, _ in inspect.getmembers(Client, inspect.isfunction) if not name.startswith("_")
    } - {"close"}  # fmt: skip
    assert methods == operations.keys()
    for name, operation in operations.items():
        taken = list(inspect.signature(getattr(Client, name)).parameters)[1:]
        asked = [one["name"] for one in operation.get("parameters", [])]
        assert taken[: len(asked)] == asked, name


def test_every_body_is_the_arguments_of_its_method(document: Any) -> None:
    operations = _operations(document)
    for schema, name in SENT.items():
        body = operations[name]["requestBody"]["content"]["application/json"]["schema"]
        assert body == {"$ref": f"#/components/schemas/{schema}"}
        fields = {
            "operation_name" if one == "operationName" else one for one in _schema(document, schema)["properties"]
        }
        assert fields <= set(inspect.signature(getattr(Client, name)).parameters), name


def _schema(document: Any, name: str) -> Any:
    return document["components"]["schemas"][name]


def test_every_answer_has_the_documents_fields_with_the_same_need_and_type(document: Any) -> None:
    for their_name in document["components"]["schemas"].keys() - SENT.keys() - OF_PROBLEMS - PARTS:
        name = NAMES.get(their_name, their_name)
        ours: type[BaseModel] = getattr(server_answers if hasattr(server_answers, name) else answers, name)
        theirs = _schema(document, their_name)
        own = ours.model_json_schema(mode="serialization")
        assert own["properties"].keys() == theirs["properties"].keys(), name
        needed = {field for field in theirs.get("required", ()) if (name, field) not in LATER}
        assert needed == set(own.get("required", ())), name
        for field, shape in theirs["properties"].items():
            nothing = [{"type": "null"}] if (name, field) == ("Readiness", "loading") else []
            read = {"anyOf": [_plain(shape), *nothing]} if nothing else _plain(shape)
            assert _plain(own["properties"][field]) == read, f"{name}.{field}"


def _plain(shape: Any) -> Any:
    """A schema without its words, with our names of types."""
    if isinstance(shape, list):
        return [_plain(one) for one in shape]
    if not isinstance(shape, dict):
        return shape
    if "$ref" in shape:
        name = shape["$ref"].rsplit("/", 1)[1]
        return {"$ref": NAMES.get(name, name)}
    return {key: _plain(value) for key, value in shape.items() if key not in ("title", "description", "default")}


def test_every_answer_is_read(client: Client) -> None:
    found = client.predict(REVIEWS, ["a good phone", "bad"], explain=True)
    assert found.labels == ["positive", "negative"]
    assert found.release.generation == 2
    attributions = found.predictions[0].attributions
    assert attributions is not None
    assert [word.word for word in attributions] == ["a", "good", "phone"]
    id_ = str(found.predictions[0].id)
    assert client.feedback(id_, truth="negative", comment="ask ann@example.com").comment == "ask <email>"
    stored = client.prediction(id_)
    assert stored.feedback[0].truth == "negative"
    assert stored.lineage is not None
    assert stored.lineage.dataset_version == "d" * 64
    assert [one.project for one in client.projects()] == ["news", REVIEWS]
    assert client.project(REVIEWS).quality[0].accuracy == 0.0
    assert [one.generation for one in client.releases(REVIEWS, limit=1)] == [2]
    assert client.overview().projects[1].f1_history[0].labelled == 1
    assert client.healthz().status == "ok"
    assert client.readyz().projects == 2
    assert "evertune_predictions_total" in client.metrics()
    answer = client.graphql("query($s: String!) { project(slug: $s) { slug } }", {"s": REVIEWS})
    assert answer.data == {"project": {"slug": REVIEWS}}
    nothing = client.graphql('{ project(slug: "nowhere") { slug } }')
    assert nothing.errors is not None
    assert nothing.errors[0].message.startswith("There is no project")


class OfAnother(Over):
    """A server of another version: its answers lack what came later, and have what is not known yet."""

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        answer = super().handle_request(request)
        return httpx.Response(answer.status_code, json={**_without_later(answer.json()), "of_tomorrow": {"x": [1]}})


def _without_later(value: Any) -> Any:
    if isinstance(value, list):
        return [_without_later(one) for one in value]
    if not isinstance(value, dict):
        return value
    return {name: _without_later(one) for name, one in value.items() if name not in {field for _, field in LATER}}


def test_a_server_of_another_version_is_understood(server: TestClient) -> None:
    with Client("http://127.0.0.1", KEYS["all"][1], transport=OfAnother(server)) as client:
        id_ = str(client.predict(REVIEWS, "good").predictions[0].id)
        assert client.feedback(id_, truth="negative").origin == "correction"
        client.feedback(id_, thumbs="up")
        stored = client.prediction(id_)
        assert ([one.origin for one in stored.feedback], stored.feedback_total) == (["correction"] * 2, 2)
        assert client.readyz().loading is None
        for read in (client.projects, client.overview, client.healthz):
            assert read()
        for of_project in (client.project, client.releases, client.review):
            assert of_project(REVIEWS)
        assert client.graphql("{ __typename }").data == {"__typename": "Query"}


def test_a_refusal_is_one_exception_with_the_problems_fields(client: Client, server: TestClient) -> None:
    with pytest.raises(ProblemError) as caught:
        client.predict(REVIEWS, ["good", ""])
    problem = caught.value
    assert (problem.status, problem.type) == (422, "urn:evertune:invalid")
    assert problem.errors == (Fault("body.texts[1]", "is empty"),)
    assert "is empty" in str(problem)
    with pytest.raises(ProblemError) as caught:
        client.predict(REVIEWS, ["good", "half of an emoji: \ud83d"])
    assert (caught.value.status, caught.value.type) == (400, "urn:evertune:bad-json")
    for name in ("nowhere", "../../healthz", "", "a b", "é"):
        with pytest.raises(ProblemError) as caught:
            client.project(f"x{name}")
        assert caught.value.status == 404
    with pytest.raises(ProblemError) as caught, Client("http://127.0.0.1", transport=Over(server)) as nobody:
        nobody.projects()
    assert caught.value.status == 401


class Scripted(httpx.BaseTransport):
    """Answers, or fails, as it was told."""

    def __init__(self, *turns: httpx.Response | httpx.TransportError) -> None:
        self.turns = list(turns)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        turn = self.turns.pop(0)
        if isinstance(turn, httpx.TransportError):
            raise turn
        return turn


def _scripted(*turns: httpx.Response | httpx.TransportError, retries: int = 3) -> tuple[Client, list[float], Scripted]:
    slept: list[float] = []
    transport = Scripted(*turns)
    return Client("http://x", "k", retries=retries, transport=transport, sleep=slept.append), slept, transport


OK = {"predictions": [], "release": {"project": "p", "generation": 1, "model_version": 1}}


def _busy(status: int, after: str | None = "2") -> httpx.Response:
    return httpx.Response(status, headers={"retry-after": after} if after else {})


def test_a_busy_server_is_asked_again_after_the_time_that_it_names() -> None:
    client, slept, _ = _scripted(_busy(503), _busy(429, "7"), httpx.Response(200, json=OK))
    assert client.predict("p", "x").predictions == ()
    assert 2 <= slept[0] <= 2.5
    assert 7 <= slept[1] <= 8.75


def test_without_a_time_it_waits_longer_each_time() -> None:
    client, slept, _ = _scripted(*[_busy(503, None)] * 3, httpx.Response(200, json=OK))
    client.predict("p", "x")
    assert slept == sorted(slept)
    assert 0.1 <= slept[0] <= 0.125


def test_in_the_end_it_gives_up_with_what_the_server_said() -> None:
    client, slept, _ = _scripted(*[_busy(503)] * 3, retries=2)
    with pytest.raises(ProblemError) as caught:
        client.predict("p", "x")
    assert (caught.value.status, caught.value.retry_after_s, len(slept)) == (503, 2.0, 2)


def test_it_does_not_wait_for_minutes_nor_repeat_what_is_wrong() -> None:
    for response in (_busy(503, "600"), httpx.Response(400), httpx.Response(500)):
        client, slept, _ = _scripted(response)
        with pytest.raises(ProblemError):
            client.predict("p", "x")
        assert slept == []


def test_no_connection_is_tried_again_and_a_broken_one_only_to_read() -> None:
    client, slept, _ = _scripted(httpx.ConnectError("refused"), httpx.Response(200, json=OK))
    client.predict("p", "x")
    assert len(slept) == 1
    client, slept, _ = _scripted(httpx.ReadError("reset"), httpx.Response(200, json=OK))
    with pytest.raises(ProblemError, match="did not answer") as caught:
        client.predict("p", "x")
    assert (caught.value.status, slept) == (0, [])
    client, slept, _ = _scripted(httpx.ReadError("reset"), httpx.Response(200, json={"status": "ok"}))
    assert client.healthz().status == "ok"


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b"{", b'"x"'])
def test_what_a_proxy_writes_is_a_problem_too(body: bytes) -> None:
    for kind in ("text/html", "application/problem+json"):
        client, _, _ = _scripted(httpx.Response(502, content=body, headers={"content-type": kind}))
        with pytest.raises(ProblemError, match="502 Bad Gateway") as caught:
            client.projects()
        assert caught.value.type == "about:blank"
