"""Generated requests to every operation of the OpenAPI document: none is a 500, and answers are as documented.

A small sample; `benchmarks/api_fuzz.py` runs 20,000.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from openapi_spec_validator import validate
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)
from tests.serving.http import world

from evertune.serving.http.app import app
from evertune.serving.http.limits import Limits

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    home: Path = tmp_path_factory.mktemp("fuzz")
    return app(world.service(home, limits=Limits(deadline_s=60)))


@pytest.fixture(scope="module")
def document(made: Any) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", lasting(made), headers={"host": "127.0.0.1"})


def lasting(made: Any) -> Any:
    """The application without its start and end, which schemathesis would give it around every request."""

    async def one(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "lifespan":
            await made(scope, receive, send)
            return
        for phase in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{phase}.complete"})

    return one


OPERATIONS = [
    "predict", "feedback", "prediction", "projects", "project", "releases",
    "review", "label", "graphql", "overview", "healthz", "readyz", "metrics",
]  # fmt: skip


def test_all_operations_are_tried(made: Any) -> None:
    paths = made.openapi()["paths"].values()
    assert sorted(OPERATIONS) == sorted(one["operationId"] for operations in paths for one in operations.values())


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_generated_request_breaks_the_server(document: Any, name: str) -> None:
    operation = document.find_operation_by_id(name)

    @settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
    @given(case=operation.as_strategy())
    def ask(case: Any) -> None:
        case.validate_response(case.call(headers=world.bearer("all")), checks=CHECKS)

    ask()


def test_the_document_is_valid_openapi(made: Any) -> None:
    validate(made.openapi())


def test_every_operation_tells_of_problems_and_has_a_name_and_a_description(made: Any) -> None:
    for path, operations in made.openapi()["paths"].items():
        for method, operation in operations.items():
            assert operation["operationId"].isidentifier(), (method, path)
            assert operation["description"], (method, path)
            problems = {code: one for code, one in operation["responses"].items() if code[0] in "45"}
            assert problems, (method, path)
            for one in problems.values():
                assert list(one["content"]) == ["application/problem+json"], (method, path)


def test_every_field_of_the_document_is_described_or_speaks_for_itself(made: Any) -> None:
    for name, one in made.openapi()["components"]["schemas"].items():
        assert one.get("description"), name
