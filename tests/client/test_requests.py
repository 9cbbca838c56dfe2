"""What the client sends is what the OpenAPI document asks for: method, path, query and body, down to each field."""

from __future__ import annotations

import inspect
import json
import re
from typing import Any, NamedTuple

import httpx
import jsonschema
import pytest
from starlette.testclient import TestClient
from tests.client.test_client import NAMES
from tests.serving.http import world

from evertune.client import Client, ProblemError
from evertune.serving.http.app import app

LABEL = {"id": "i", "label": "positive", "pick": "p", "annotator": "Ann"}
CALLS: dict[str, list[dict[str, Any]]] = {
    "predict": [
        {"project": "a/b c", "texts": "good", "explain": True, "groups": "d"},
        {"project": "p", "texts": ("good", "bad"), "explain": False, "groups": ["d", None]},
    ],
    "feedback": [
        {"prediction_id": "i", "truth": "positive", "correction": "negative", "thumbs": "down", "comment": "no"},
        {"prediction_id": "i", "truth": None, "correction": None, "thumbs": "up", "comment": None},
    ],
    "prediction": [{"prediction_id": "i"}],
    "review": [{"project": "p", "limit": 5}],
    "label": [
        {"project": "p", "labels": [LABEL, {**LABEL, "annotator": None}], "origin": "expert"},
        {"project": "p", "labels": iter([LABEL]), "origin": "import"},
    ],
    "projects": [{}],
    "project": [{"project": "p"}],
    "releases": [{"project": "p", "limit": 7}],
    "graphql": [{"query": "query a($s: String!) { project(slug: $s) { slug } }", "variables": {"s": "p"},
                 "operation_name": "a"}],
    "overview": [{}],
    "healthz": [{}],
    "readyz": [{}],
    "metrics": [{}],
}  # fmt: skip
"""Operation → calls of its method, each with every argument that it takes."""


class Operation(NamedTuple):
    """One of the document's."""

    method: str
    path: re.Pattern[str]
    about: Any

    def body(self) -> Any:
        """The schema of what it takes."""
        return self.about.get("requestBody", {}).get("content", {}).get("application/json", {}).get("schema")

    def answer(self) -> str | None:
        """The name of what it gives; ``None`` for plain text."""
        success = next(one for status, one in self.about["responses"].items() if status.startswith("2"))
        schema = success["content"].get("application/json", {}).get("schema")
        return str(schema["$ref"].rsplit("/", 1)[1]) if schema else None


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with TestClient(app(world.service(tmp_path_factory.mktemp("home"))), base_url="http://127.0.0.1") as client:
        return client.get("/openapi.json").json()


@pytest.fixture(scope="module")
def operations(document: Any) -> dict[str, Operation]:
    return {
        about["operationId"]: Operation(method.upper(), re.compile(re.sub(r"\{\w+\}", "[^/]+", path)), about)
        for path, methods in document["paths"].items()
        for method, about in methods.items()
    }


def _sent(name: str, arguments: dict[str, Any]) -> httpx.Request:
    """What the method sends; nobody answers it."""
    seen: list[httpx.Request] = []

    def refuse(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(418)

    with Client("http://t", "k", transport=httpx.MockTransport(refuse)) as client, pytest.raises(ProblemError):
        getattr(client, name)(**arguments)
    (request,) = seen
    return request


def _check(document: Any, value: object, schema: Any) -> None:
    jsonschema.validate(value, {**schema, "components": document["components"]})


def test_every_operation_is_called_here_with_every_argument(operations: dict[str, Operation]) -> None:
    assert CALLS.keys() == operations.keys()
    for name, calls in CALLS.items():
        taken = set(inspect.signature(getattr(Client, name)).parameters) - {"self"}
        assert all(call.keys() == taken for call in calls), name


@pytest.mark.parametrize("name", CALLS)
def test_what_is_sent_is_what_the_document_asks_for(
    document: Any, operations: dict[str, Operation], name: str
) -> None:  # fmt: skip
    operation, fields = operations[name], set[str]()
    for call in CALLS[name]:
        request = _sent(name, call)
        assert request.method == operation.method
        assert operation.path.fullmatch(request.url.raw_path.decode().partition("?")[0])
        asked = {one["name"]: one["schema"] for one in operation.about.get("parameters", []) if one["in"] == "query"}
        assert request.url.params.keys() == asked.keys()
        for parameter, schema in asked.items():
            _check(document, json.loads(request.url.params[parameter]), schema)
        if (schema := operation.body()) is None:
            assert request.content == b""
            continue
        _check(document, body := json.loads(request.content), schema)
        fields |= body.keys()
    if schema is not None:
        shape = document["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
        assert fields == shape["properties"].keys(), "every field can be sent"


@pytest.mark.parametrize("name", CALLS)
def test_what_is_read_is_what_the_document_says_is_given(operations: dict[str, Operation], name: str) -> None:
    source = inspect.getsource(getattr(Client, name))
    read = re.findall(r"answers\.(\w+)\.model_validate_json", source)
    given = operations[name].answer()
    assert read == ([] if given is None else [NAMES.get(given, given)])
