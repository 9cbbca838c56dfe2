"""The queue over HTTP: who may see it, in what order, and what labels are kept."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http.conftest import Start
from tests.serving.http.world import NEWS, REVIEWS, bearer, post, predict

from evertune.serving.http.service import Service
from evertune.serving.labelling import Drawn
from evertune.serving.log import LogError

PATH = f"/v1/projects/{REVIEWS}/review"


class Some:
    """Draws these answers, each with a chance of 1/4, until they are labelled."""

    def __init__(self, ids: list[str]) -> None:
        self.rows = [Drawn(id_, f"text of {id_}", {"negative": 0.4, "positive": 0.6}, 0.25, "why") for id_ in ids]

    def draw(self, project: str) -> list[Drawn]:
        return list(self.rows) if project == REVIEWS else []

    def labelled(self, project: str, ids: set[str]) -> None:
        assert project == REVIEWS
        self.rows = [row for row in self.rows if row.id not in ids]


@pytest.fixture
def world(start: Start) -> tuple[TestClient, Service, list[str]]:
    client, service = start(limits=None)
    ids = [one["id"] for one in predict(client, ["good"] * 5).json()["predictions"]]
    service.review = Some(ids)
    return client, service, ids


def queue(client: TestClient, key: str = "full", limit: int = 20) -> Any:
    return client.get(f"{PATH}?limit={limit}", headers=bearer(key)).json()


def label(client: TestClient, *labels: dict[str, Any], key: str = "full", **more: Any) -> Any:
    return post(client, PATH, {"labels": labels, **more}, key)


def _first(client: TestClient, name: str = "negative", place: int = 0) -> dict[str, Any]:
    row = queue(client)["rows"][place]
    return {"id": row["id"], "pick": row["pick"], "label": name}


def test_the_queue_is_labelled_and_what_is_labelled_leaves_it(world: tuple[TestClient, Service, list[str]]) -> None:
    client, service, ids = world
    found = queue(client)
    assert (found["project"], found["generation"], found["labels"]) == (REVIEWS, 2, ["negative", "positive"])
    assert sorted(row["id"] for row in found["rows"]) == sorted(ids)
    row = found["rows"][0]
    assert (row["label"], row["why"], row["scores"]["positive"]) == ("positive", "why", 0.6)
    done = label(client, {"id": row["id"], "label": "negative", "pick": row["pick"], "annotator": "Ann"})
    assert (done.status_code, done.json()) == (201, {"kept": 1})
    (said,) = [one.feedback for one in service.log.feedback(row["id"]).newest]
    assert (said.truth, said.label, said.origin, said.probability) == ("negative", "negative", "expert", 0.25)
    assert said.annotator is not None
    assert "Ann" not in said.annotator
    assert queue(client)["waiting"] == 4
    assert (
        client.get(f"/v1/predictions/{row['id']}", headers=bearer("full")).json()["feedback"][0]["origin"] == "expert"
    )


def test_each_key_has_an_order_of_its_own_that_stays(start: Start) -> None:
    client, service = start()
    service.review = Some([f"id {number}" for number in range(50)])
    mine, again, others = ([row["id"] for row in queue(client, key)["rows"]] for key in ("full", "full", "all"))
    assert mine == again
    assert mine != others
    assert len(queue(client, limit=3)["rows"]) == 3
    assert [row["id"] for row in queue(client, limit=3)["rows"]] == mine[:3]


def test_labels_of_picked_answers_do_not_enter_the_rolling_scores(world: tuple[TestClient, Service, list[str]]) -> None:
    client, _, ids = world
    first = _first(client)
    assert label(client, first).status_code == 201
    assert client.get(f"/v1/projects/{REVIEWS}", headers=bearer("full")).json()["quality"] == []
    for id_ in ids:
        post(client, f"/v1/predictions/{id_}/feedback", {"truth": "negative"})
    (found,) = client.get(f"/v1/projects/{REVIEWS}", headers=bearer("full")).json()["quality"]
    assert found["labelled"] == len(ids) - 1


@pytest.mark.parametrize(
    ("change", "where"),
    [
        ({"pick": None}, "body.labels[0].pick"),
        ({"pick": "AAAA"}, "body.labels[0].pick"),
        ({"pick": "\u00e9"}, "body.labels[0].pick"),
        ({"label": "wonderful"}, "body.labels[0].label"),
        ({"id": "nothing"}, "body.labels[0].id"),
        ({"annotator": ""}, "body.labels[0].annotator"),
        ({"annotator": "x" * 201}, "body.labels[0].annotator"),
        ({"probability": 1.0}, "body.labels[0].probability"),
    ],
)
def test_a_bad_label_is_told_and_keeps_the_good_ones_out(
    world: tuple[TestClient, Service, list[str]], change: dict[str, Any], where: str
) -> None:
    client, service, _ = world
    bad, good = {**_first(client), **change}, _first(client, place=1)
    response = label(client, bad, good)
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == where
    assert service.log.feedback(good["id"]).newest == []


def test_the_pick_of_one_answer_is_none_of_another(world: tuple[TestClient, Service, list[str]]) -> None:
    client, _, _ = world
    one, other = _first(client), _first(client, place=1)
    assert label(client, {**one, "pick": other["pick"]}).status_code == 422


def test_a_batch_that_contradicts_itself_is_refused_and_one_that_repeats_itself_is_kept_once(
    world: tuple[TestClient, Service, list[str]],
) -> None:
    client, service, _ = world
    one = _first(client)
    response = label(client, one, {**one, "label": "positive"})
    assert response.status_code == 422
    assert "labels[0]" in response.json()["errors"][0]["what"]
    assert label(client, one, one).json() == {"kept": 1}
    assert len(service.log.feedback(one["id"]).newest) == 1


def test_an_answer_of_another_project_is_not_there(world: tuple[TestClient, Service, list[str]]) -> None:
    client, service, _ = world
    (other,) = predict(client, "good", "all", NEWS).json()["predictions"]
    body = {"id": other["id"], "label": "negative"}
    response = label(client, body, key="all", origin="import")
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == "body.labels[0].id"
    assert service.log.feedback(other["id"]).newest == []


def test_labels_are_imported_with_a_pick_and_without(world: tuple[TestClient, Service, list[str]]) -> None:
    client, service, _ = world
    one, other = _first(client), _first(client, place=1)
    assert label(client, one, {**other, "pick": None}, origin="import").json() == {"kept": 2}
    said = [service.log.feedback(row["id"]).newest[0].feedback for row in (one, other)]
    assert [(one.origin, one.probability) for one in said] == [("import", 0.25), ("import", None)]


@pytest.mark.parametrize("key", ["predict-only", "watch"])
def test_the_scope_feedback_is_needed(world: tuple[TestClient, Service, list[str]], key: str) -> None:
    client, _, _ = world
    one = _first(client)
    assert client.get(PATH, headers=bearer(key)).status_code == 403
    assert label(client, one, key=key).status_code == 403


def test_a_log_that_is_full_keeps_nothing_and_says_so(
    world: tuple[TestClient, Service, list[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    client, service, _ = world

    async def full(_records: object) -> list[str]:
        raise LogError("full")

    monkeypatch.setattr(service.log, "append", full)
    assert label(client, _first(client)).status_code == 503
    assert queue(client)["waiting"] == 5


def test_graphql_reaches_it_too(world: tuple[TestClient, Service, list[str]]) -> None:
    client, service, _ = world
    query = '{ review(project: "reviews", limit: 2) { waiting labels rows { id pick label why scores { label } } } }'
    found = post(client, "/graphql", {"query": query}).json()["data"]["review"]
    assert (found["waiting"], len(found["rows"])) == (5, 2)
    row = found["rows"][0]
    give = """mutation($labels: [Labelling!]!) { label(project: "reviews", labels: $labels) { kept } }"""
    labels = [{"id": row["id"], "label": "negative", "pick": row["pick"]}]
    assert post(client, "/graphql", {"query": give, "variables": {"labels": labels}}).json()["data"] == {
        "label": {"kept": 1}
    }
    assert service.log.feedback(row["id"]).newest[0].feedback.origin == "expert"
    wrong = post(client, "/graphql", {"query": give, "variables": {"labels": []}}).json()
    assert wrong["errors"][0]["extensions"]["status"] == 422


def test_feedback_that_contradicts_itself_is_refused(client: TestClient) -> None:
    (one,) = predict(client).json()["predictions"]
    path = f"/v1/predictions/{one['id']}/feedback"
    response = post(client, path, {"truth": "positive", "correction": "negative"})
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"] == "body.correction"
    assert post(client, path, {"truth": "positive", "correction": "positive"}).status_code == 201
    assert post(client, path, {"truth": "positive", "correction": "rather good"}).status_code == 201


def test_a_correction_that_names_a_class_is_kept_as_a_label(start: Start) -> None:
    client, service = start()
    (one,) = predict(client).json()["predictions"]
    for words in ("negative", "rather bad"):
        post(client, f"/v1/predictions/{one['id']}/feedback", {"correction": words})
    assert [said.feedback.label for said in service.log.feedback(one["id"]).newest] == ["negative", None]
