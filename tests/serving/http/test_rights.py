"""Who may do what: every route and every GraphQL field, asked with every kind of key."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from fastapi.routing import APIRoute
from starlette.routing import Route
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect
from tests.serving.http.conftest import Start
from tests.serving.http.world import KEYS, NEWS, REVIEWS, bearer, post, predict

from evertune.serving.http.assets import ASSETS
from evertune.serving.http.graphql import schema
from evertune.serving.http.guard import SURFACES
from evertune.serving.http.lean import Lean
from evertune.serving.http.service import Openness

CLOSED = Openness()
NO_KEY = ["none", "bad", "expired", "revoked"]

BODIES: dict[str, Any] = {
    "/v1/projects/{project}/predict": {"texts": "good"},
    "/v1/predictions/{prediction_id}/feedback": {"thumbs": "up"},
    "/v1/projects/{project}/review": {"labels": [{"id": "ID", "label": "positive"}]},
    "/graphql": {"query": "{ __typename }"},
}
OTHERS: dict[tuple[str, str], int] = {
    # Method and path → what a key of another project gets. It sees itself in lists, and nothing of this project.
    ("GET", "/v1/projects"): 200,
    ("GET", "/v1/projects/{project}"): 404,
    ("GET", "/v1/projects/{project}/releases"): 404,
    ("POST", "/v1/projects/{project}/predict"): 404,
    ("GET", "/v1/projects/{project}/review"): 404,
    ("POST", "/v1/projects/{project}/review"): 404,
    ("GET", "/v1/predictions/{prediction_id}"): 404,
    ("POST", "/v1/predictions/{prediction_id}/feedback"): 404,
    ("POST", "/graphql"): 200,
    ("GET", "/graphql"): 200,  # it has the scope admin, in its own project
    ("GET", "/v1/overview"): 200,
    ("GET", "/"): 200,
    ("GET", "/docs"): 200,
    ("GET", "/openapi.json"): 200,
    **{("GET", path): 200 for path in ASSETS},  # the programs of the documents
    ("GET", "/metrics"): 403,  # they are those of all projects
}
FIELDS: dict[str, tuple[str, Any]] = {
    # Field → a query that asks for it in `reviews`, and what a key of another project gets.
    "Query.projects": ("{ projects { slug } }", {"projects": [{"slug": NEWS}]}),
    "Query.project": ('{ project(slug: "reviews") { slug } }', {"project": None}),
    "Query.prediction": ('{ prediction(id: "ID") { text } }', {"prediction": None}),
    "Query.review": ('{ review(project: "reviews") { waiting } }', {"review": None}),
    "Mutation.label": (
        'mutation { label(project: "reviews", labels: [{id: "ID", label: "positive"}]) { kept } }',
        {"label": None},
    ),
    "Mutation.predict": (
        'mutation { predict(project: "reviews", texts: ["good"]) { predictions { label } } }',
        {"predict": None},
    ),
    "Mutation.feedback": ('mutation { feedback(id: "ID", saying: {thumbs: UP}) { id } }', {"feedback": None}),
}


def _routes(client: TestClient) -> list[tuple[str, str]]:
    made: Any = client.app
    return sorted(
        (method, route.path)
        for route in made.routes
        for method in getattr(route, "methods", None) or {"*"}
        if method != "HEAD"
    )


def _ask(client: TestClient, method: str, path: str, key: str, id_: str) -> Any:
    filled = path.replace("{project}", REVIEWS).replace("{prediction_id}", id_)
    if method == "POST":
        return post(client, filled, BODIES[path], key)
    return client.request(method, filled, headers=bearer(key))


def test_every_route_has_its_rule_here_and_takes_bodies_within_bounds(client: TestClient) -> None:
    asked = {route for route in _routes(client) if SURFACES.get(route[1]) != "always"}
    assert asked == OTHERS.keys()
    made: Any = client.app
    for route in made.routes:
        assert type(route) in (APIRoute, Lean, Route), f"{route} is of a kind that nobody thought of"
        assert isinstance(route, Lean) == ("POST" in route.methods), f"{route.path} would read a body without bound"


@pytest.mark.parametrize("key", NO_KEY)
def test_without_a_valid_key_no_route_answers(start: Start, key: str) -> None:
    client, _ = start(openness=CLOSED)
    id_ = predict(client).json()["predictions"][0]["id"]
    for method, path in [*OTHERS, ("GET", "/nothing"), ("PUT", "/v1/projects"), ("OPTIONS", "/"), ("POST", "/")]:
        BODIES.setdefault(path, {})
        response = _ask(client, method, path, key, id_)
        assert response.status_code == 401, (method, path)
        assert response.headers["www-authenticate"].startswith('Bearer realm="evertune"')
        assert ("invalid_token" in response.headers["www-authenticate"]) == (key != "none")
        assert response.json()["type"] == "urn:evertune:unauthenticated"
        assert REVIEWS not in response.text


def test_a_key_of_another_project_sees_nothing_of_this_one(start: Start) -> None:
    client, _ = start(openness=CLOSED)
    id_ = predict(client).json()["predictions"][0]["id"]
    for (method, path), status in OTHERS.items():
        response = _ask(client, method, path, "other", id_)
        assert response.status_code == status, (method, path)
        if path != "/openapi.json" and path not in ASSETS:  # its examples are texts, too, and they are others' words
            assert REVIEWS not in response.text, (method, path)


@pytest.mark.parametrize("path", ["/v1/projects/{}", "/v1/projects/{}/releases"])
def test_a_forbidden_project_and_an_unknown_one_are_answered_alike(client: TestClient, path: str) -> None:
    forbidden, unknown = (client.get(path.format(slug), headers=bearer("other")) for slug in (REVIEWS, "nowhere"))
    assert forbidden.status_code == unknown.status_code == 404
    assert forbidden.content == unknown.content
    assert dict(forbidden.headers) == dict(unknown.headers)


def test_a_forbidden_prediction_and_an_unknown_one_are_answered_alike(client: TestClient) -> None:
    id_ = predict(client).json()["predictions"][0]["id"]
    forbidden, unknown = (client.get(f"/v1/predictions/{one}", headers=bearer("other")) for one in (id_, "nothing"))
    assert forbidden.content == unknown.content
    assert client.get(f"/v1/predictions/{id_}", headers=bearer("full")).status_code == 200
    said = [post(client, f"/v1/predictions/{one}/feedback", {"thumbs": "up"}, "other") for one in (id_, "nothing")]
    assert said[0].content == said[1].content


@pytest.mark.parametrize(
    ("key", "predicts", "says"),
    [
        ("full", 200, 201),
        ("predict-only", 200, 403),
        ("feedback-only", 403, 201),
        ("watch", 403, 403),
        ("all", 200, 201),
    ],
)
def test_each_scope_allows_what_it_says_and_reading(client: TestClient, key: str, predicts: int, says: int) -> None:
    id_ = predict(client).json()["predictions"][0]["id"]
    assert predict(client, key=key).status_code == predicts
    assert post(client, f"/v1/predictions/{id_}/feedback", {"thumbs": "up"}, key).status_code == says
    assert client.get(f"/v1/predictions/{id_}", headers=bearer(key)).status_code == 200
    assert client.get(f"/v1/projects/{REVIEWS}", headers=bearer(key)).status_code == 200


def _fields() -> set[str]:
    types = schema._schema.type_map
    named: Any = [types["Query"], types["Mutation"]]
    return {f"{one.name}.{name}" for one in named for name in one.fields}


def test_every_graphql_field_has_its_rule_here() -> None:
    assert _fields() == FIELDS.keys()


@pytest.mark.parametrize("key", ["other", *NO_KEY])
def test_every_graphql_field_gives_nothing_to_who_may_not(start: Start, key: str) -> None:
    client, _ = start(openness=CLOSED)
    id_ = predict(client).json()["predictions"][0]["id"]
    for query, data in FIELDS.values():
        response = post(client, "/graphql", {"query": query.replace("ID", id_)}, key)
        if key != "other":
            assert response.status_code == 401
            continue
        found = response.json()
        assert found["data"] == data, query
        if None in data.values():
            assert found["errors"][0]["extensions"]["status"] == 404
            assert REVIEWS not in response.text


def test_graphql_says_403_for_a_scope_that_the_key_lacks(client: TestClient) -> None:
    query, _ = FIELDS["Mutation.predict"]
    found = post(client, "/graphql", {"query": query}, "feedback-only").json()
    assert found["errors"][0]["extensions"] == {"type": "urn:evertune:forbidden", "status": 403}


def test_on_loopback_page_docs_and_metrics_are_open_and_nothing_else(client: TestClient) -> None:
    for path, surface in SURFACES.items():
        assert client.get(path).status_code == 200, surface
    assert client.get("/v1/projects").status_code == 401
    assert post(client, "/graphql", {"query": "{ __typename }"}, "none").status_code == 401


def test_under_another_name_the_same_is_closed(client: TestClient) -> None:
    for path, surface in SURFACES.items():
        status = 200 if surface == "always" else 401
        assert client.get(path, headers={"host": "evil.example:8080"}).status_code == status


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP", "x-forwarded-host"])
def test_what_a_proxy_hands_on_finds_nothing_open(client: TestClient, header: str) -> None:
    """A proxy on the same machine comes from it, and names it as the host: so does everybody behind it."""
    for path, surface in SURFACES.items():
        status = 200 if surface == "always" else 401
        assert client.get(path, headers={header: "203.0.113.9"}).status_code == status


def test_a_browser_may_send_the_key_as_a_password_but_only_to_look(start: Start) -> None:
    client, _ = start(openness=CLOSED)
    basic = {"Authorization": "Basic " + base64.b64encode(f"me:{KEYS['watch'][1]}".encode()).decode()}
    assert client.get("/", headers=basic).status_code == 200
    overview = client.get("/v1/overview", headers=basic)
    assert [one["project"] for one in overview.json()["projects"]] == [REVIEWS]
    assert client.get("/v1/projects", headers=basic).status_code == 401
    assert client.get("/", headers={"Authorization": "Basic !!!"}).status_code == 401


@pytest.mark.parametrize(
    "value", ["Bearer", "Bearer ", "bearer x y", "Basic Zm9v", "Digest x", "\xff\xfe", "Bearer " + "x" * 10_000, ""]
)
def test_an_odd_authorization_is_none(client: TestClient, value: str) -> None:
    response = client.get("/v1/projects", headers=[(b"Authorization", value.encode("latin-1"))])
    assert response.status_code == 401


def test_two_keys_are_none(client: TestClient) -> None:
    value = bearer("full")["Authorization"]
    headers = [("authorization", value), ("authorization", value)]
    assert client.get("/v1/projects", headers=headers).status_code == 401


def test_a_closed_surface_needs_the_scope_admin(start: Start) -> None:
    client, _ = start(openness=CLOSED)
    for path in ("/", "/docs", "/openapi.json", "/v1/overview", "/metrics", "/graphql"):
        assert client.get(path, headers=bearer("full")).status_code == 403
        assert client.get(path, headers=bearer("all")).status_code == 200


def test_websockets_are_closed_at_once(client: TestClient) -> None:
    with pytest.raises(WebSocketDisconnect), client.websocket_connect("/graphql"):
        pass
