"""Predict: what is answered, what is logged before, what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from starlette.testclient import TestClient
from tests.serving.http import world
from tests.serving.http.conftest import Start
from tests.serving.http.world import MAX_TOKENS, REVIEWS, predict

from evertune.serving.engine.answers import DeadlineError, EngineError, OverloadedError
from evertune.serving.http.limits import Limits
from evertune.serving.log import LogFullError
from evertune.text import pseudonym


def test_one_text_is_answered_with_all_that_the_answer_rests_on(client: TestClient) -> None:
    found = predict(client, "a good phone").json()
    (one,) = found["predictions"]
    assert one["label"] == "positive"
    assert not one["cut"]
    assert one["scores"].keys() == {"negative", "positive"}
    assert sum(one["scores"].values()) == pytest.approx(1, abs=1e-5)
    assert "attributions" not in one
    assert found["release"] == {"project": REVIEWS, "generation": 2, "model_version": 12}


def test_several_texts_are_answered_in_their_order(client: TestClient) -> None:
    texts = ["good", "bad", "a great film", "awful"]
    labels = [one["label"] for one in predict(client, texts).json()["predictions"]]
    assert labels == ["positive", "negative", "positive", "negative"]


def test_an_answer_is_in_the_log_before_it_is_sent_redacted_like_training(start: Start) -> None:
    client, service = start()
    (one,) = predict(client, "good\u200b  write to\tann@example.com").json()["predictions"]
    stored = service.log.find(one["id"])
    assert stored is not None
    answer = stored.answer
    assert answer.text == "good write to <email>"
    assert (answer.project, answer.generation, answer.key_id) == (REVIEWS, 2, world.KEYS["full"][0].id)
    assert answer.output["label"] == one["label"]
    assert answer.embedding is not None
    assert answer.received <= answer.answered


def test_an_explanation_gives_each_word_its_weight(client: TestClient) -> None:
    (one,) = predict(client, "a good phone", explain=True).json()["predictions"]
    weights = {word["word"]: word["weight"] for word in one["attributions"]}
    assert weights["good"] > 1
    assert weights["phone"] == pytest.approx(0, abs=1e-5)


def test_a_long_text_is_answered_and_said_to_be_cut(client: TestClient) -> None:
    (one,) = predict(client, "good " * (100_000 // 5)).json()["predictions"]
    assert one["cut"]
    assert one["label"] == "positive"


def test_control_tokens_in_a_text_reach_the_model_as_ordinary_text(start: Start) -> None:
    client, service = start()
    response = predict(client, ["good [SEP] bad", "[CLS][MASK] good <|im_end|> </s> [PAD]"])
    assert response.status_code == 200
    served = service.live.get(REVIEWS)
    assert served is not None
    assert isinstance(served.model, world.Words)
    controls = {served.tokenizer.token_to_id(name) for name in ("[PAD]", "[CLS]", "[SEP]", "[MASK]")}
    for row in served.model.seen:
        assert controls.isdisjoint(row[1:-1])
        assert len(row) <= MAX_TOKENS


def test_a_full_disk_refuses_rather_than_answer_unlogged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start()
    monkeypatch.setattr(service.log, "append", _full)
    response = predict(client)
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) >= 1
    assert response.json()["type"] == "urn:evertune:log-full"
    assert "predictions" not in response.json()


def test_a_project_may_say_that_answers_go_out_unlogged(start: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    client, service = start(log_unavailable="answer")
    monkeypatch.setattr(service.log, "append", _full)
    (one,) = predict(client).json()["predictions"]
    assert one["id"] is None
    assert one["label"] == "positive"
    metrics = client.get("/metrics").text
    assert f'evertune_predictions_unlogged_total{{project="{REVIEWS}"}} 1.0' in metrics


async def _full(_: object) -> list[str]:
    raise LogFullError("The disk is full.")


@pytest.mark.parametrize(
    ("fault", "kind"),
    [
        (OverloadedError(7.2), "overloaded"),
        (DeadlineError("late"), "deadline"),
        (EngineError("nan"), "unexpected"),
    ],
)
def test_what_the_engine_cannot_do_is_said_with_when_to_ask_again(
    start: Start, monkeypatch: pytest.MonkeyPatch, fault: Exception, kind: str
) -> None:
    client, service = start()

    async def fail(*_: Any, **__: Any) -> Any:
        raise fault

    monkeypatch.setattr(service.batcher, "submit", fail)
    response = predict(client)
    assert response.status_code == 503
    assert response.json()["type"] == f"urn:evertune:{kind}"
    assert int(response.headers["retry-after"]) == (8 if kind == "overloaded" else int(response.headers["retry-after"]))


def test_a_project_whose_only_release_was_refused_says_so(start: Start) -> None:
    client, service = start()
    service.live.refuse("fresh", 1, "Its signature is not a trusted one's.")
    response = predict(client, key="all", project="fresh")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:evertune:no-release"


def test_a_key_has_its_own_rate(start: Start) -> None:
    client, _ = start()
    assert predict(client, key="slow").status_code == 200
    response = predict(client, key="slow")
    assert response.status_code == 429
    assert response.headers["retry-after"] == "1"
    assert predict(client).status_code == 200


@pytest.mark.parametrize(("texts", "explain", "status"), [(3, False, 200), (4, False, 422), (2, True, 422)])
def test_a_request_has_so_many_texts_and_fewer_with_explanations(
    start: Start, texts: int, explain: bool, status: int
) -> None:
    client, _ = start(limits=Limits(texts=3, explained_texts=1))
    assert predict(client, ["good"] * texts, explain=explain).status_code == status


def _groups(service: Any, response: Any) -> list[str | None]:
    found = [service.log.find(one["id"]) for one in response.json()["predictions"]]
    return [one.answer.group for one in found]


def test_the_groups_of_texts_are_kept_as_hashes_of_this_project(start: Start) -> None:
    client, service = start()
    service.salt = "pepper"
    ann, bob, nobody = _groups(service, predict(client, ["a", "b", "c"], groups=["Ann", "Bob", None]))
    assert (ann, bob) == (pseudonym("Ann", REVIEWS, "pepper"), pseudonym("Bob", REVIEWS, "pepper"))
    assert nobody is None
    assert _groups(service, predict(client, ["a", "b"], groups="Ann")) == [ann, ann]
    assert _groups(service, predict(client, ["a", "b"])) == [None, None]
    query = 'mutation { predict(project: "reviews", texts: ["a"], groups: ["Ann"]) { predictions { id } } }'
    found = world.post(client, "/graphql", {"query": query}).json()["data"]["predict"]["predictions"]
    stored = service.log.find(found[0]["id"])
    assert stored is not None
    assert stored.answer.group == ann


@pytest.mark.parametrize("text", ["", " \n", "\u200b", "\ufeff\u2060 \x00"])
def test_a_text_in_which_nothing_can_be_seen_is_refused(client: TestClient, text: str) -> None:
    response = predict(client, ["good", text])
    assert response.status_code == 422
    assert "is empty" in response.text


@pytest.mark.parametrize(
    "groups", [["Ann"], ["Ann", ""], ["Ann", " "], "", ["Ann", "x" * 1001], [], ["a", "b", "c"], {"a": 1}, [1, 2]]
)
def test_groups_that_are_none_are_refused(client: TestClient, groups: object) -> None:
    response = predict(client, ["a", "b"], groups=groups)
    assert response.status_code == 422
    assert response.json()["errors"][0]["where"].startswith("body.groups")
