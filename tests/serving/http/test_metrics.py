"""What Prometheus reads, and that the dashboard draws nothing else."""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families
from starlette.testclient import TestClient
from tests.conftest import ROOT
from tests.serving.http import world
from tests.serving.http.conftest import Start
from tests.serving.http.world import NEWS, REVIEWS, post, predict

DASHBOARD = ROOT / "deploy" / "grafana" / "evertune.json"


def _read(client: TestClient) -> dict[str, list[tuple[dict[str, str], float]]]:
    families = text_string_to_metric_families(client.get("/metrics").text)
    found: dict[str, list[tuple[dict[str, str], float]]] = {}
    for family in families:
        for sample in family.samples:
            found.setdefault(sample.name, []).append((sample.labels, sample.value))
    return found


def _used(client: TestClient) -> None:
    """Traffic of every kind that a counter counts."""
    ids = [one["id"] for one in predict(client, ["good", "bad", "good " * 500]).json()["predictions"]]
    for body in ({"truth": "positive"}, {"thumbs": "up", "comment": "x"}, {"correction": "negative"}):
        post(client, f"/v1/predictions/{ids[1]}/feedback", body)
    predict(client, "", key="full")
    predict(client, key="bad")
    client.get("/nowhere/" + "x" * 50)


def test_answers_releases_quality_and_the_log_are_told(client: TestClient) -> None:
    _used(client)
    found = _read(client)
    answered = {labels["label"]: value for labels, value in found["evertune_predictions_total"]}
    assert answered == {"positive": 2, "negative": 1}
    assert ({"project": REVIEWS}, 2) in found["evertune_release_generation"]
    assert ({"project": NEWS}, 1) in found["evertune_release_generation"]
    assert found["evertune_release_info"][1][0]["engine"] == "onnx-int8"
    assert found["evertune_quality_labelled"] == [({"project": REVIEWS, "generation": "2"}, 1)]
    assert found["evertune_quality_accuracy"] == [({"project": REVIEWS, "generation": "2"}, 1)]
    assert found["evertune_predictions_cut_total"] == [({"project": REVIEWS}, 1)]
    assert found["evertune_log_records_total"] == [({}, 6)]
    assert found["evertune_queue_texts"] == [({}, 0)]
    assert found["evertune_batch_rows_sum"][0][1] == 3
    assert {labels["quantile"] for labels, _ in found["evertune_predict_quantile_seconds"]} == {"0.5", "0.9", "0.99"}


def _answers(client: TestClient) -> dict[tuple[str, str, str], float]:
    told = _read(client)["evertune_predictions_total"]
    return {(labels["project"], labels["generation"], labels["label"]): value for labels, value in told}


def test_series_of_releases_before_the_last_one_end_and_the_others_go_on(start: Start, tmp_path: Path) -> None:
    client, service = start()
    predict(client, key="all", project=NEWS)
    for generation in range(2, 8):
        service.live.switch(world.served(REVIEWS, generation, tmp_path))
        predict(client, ["good", "bad"])
    news = {(NEWS, "1", "positive"): 1.0}
    both = {(REVIEWS, generation, label): 1.0 for generation in ("6", "7") for label in world.LABELS}
    assert _answers(client) == news | both
    predict(client, ["good"])
    late = world.served(REVIEWS, 5, tmp_path)
    service.meters.answered(late, late.answer(["bad"]))
    both[REVIEWS, "7", "positive"] += 1
    assert _answers(client) == news | both | {(REVIEWS, "5", "negative"): 1.0}, "what counts on was not begun anew"
    service.live.switch(world.served(REVIEWS, 8, tmp_path))
    predict(client)
    assert {generation for project, generation, _ in _answers(client) if project == REVIEWS} == {"7", "8"}


def test_requests_beyond_the_rate_are_counted_as_refused(client: TestClient) -> None:
    assert [predict(client, key="slow").status_code for _ in range(3)][-1] == 429
    refused = {labels["reason"]: value for labels, value in _read(client)["evertune_refused_total"]}
    assert refused["rate"] >= 1


def test_a_ledger_that_cannot_be_read_is_told(start: Start) -> None:
    client, service = start()
    assert _read(client)["evertune_ledger_readable"] == [({}, 1)]
    service.live.away = "its tables are of another revision"
    assert _read(client)["evertune_ledger_readable"] == [({}, 0)]


def test_requests_are_counted_by_route_and_never_by_path(client: TestClient) -> None:
    _used(client)
    counted: Counter[tuple[str, str]] = Counter()
    for labels, value in _read(client)["evertune_http_requests_total"]:
        counted[labels["route"], labels["status"]] += int(value)
    assert counted["/v1/projects/{project}/predict", "200"] == 1
    assert counted["/v1/projects/{project}/predict", "422"] == 1
    assert counted["none", "401"] == 2
    assert counted["/v1/predictions/{prediction_id}/feedback", "201"] == 3
    assert not any("x" * 50 in route for route, _ in counted)


def test_a_refused_release_is_told(start: Start) -> None:
    client, service = start()
    service.live.refuse(REVIEWS, 3, "It did not warm.")
    assert _read(client)["evertune_release_refused_generation"] == [({"project": REVIEWS}, 3)]


def _expressions(value: Any) -> list[str]:
    if isinstance(value, dict):
        own = [value[key] for key in ("expr", "definition") if isinstance(value.get(key), str)]
        return own + [one for inside in value.values() for one in _expressions(inside)]
    return [one for inside in value for one in _expressions(inside)] if isinstance(value, list) else []


def test_the_dashboard_draws_metrics_that_there_are_with_labels_that_they_have(start: Start) -> None:
    client, service = start(log_unavailable="answer")
    _used(client)
    service.live.refuse(REVIEWS, 3, "It did not warm.")
    service.meters.unlogged(REVIEWS, 1)
    there = _read(client)
    expressions = _expressions(json.loads(DASHBOARD.read_text()))
    assert len(expressions) > 25
    for expression in expressions:
        names = re.findall(r"\b(?:evertune|process)_\w+", expression)
        assert names, expression
        for name in names:
            assert name in there, f"{name} in {expression!r} is no metric"
            labels = {label for one, _ in there[name] for label in one} | {"le"}
            wanted = set(re.findall(rf"{name}{{([^}}]*)}}", expression) and re.findall(r"(\w+)=~?\"", expression))
            assert wanted <= labels, f"{name} has no {wanted - labels}"


def test_the_dashboard_draws_every_metric_of_ours(start: Start) -> None:
    client, service = start(log_unavailable="answer")
    _used(client)
    service.live.refuse(REVIEWS, 3, "It did not warm.")
    service.meters.unlogged(REVIEWS, 1)
    drawn = " ".join(_expressions(json.loads(DASHBOARD.read_text())))
    ours = {re.sub(r"_(total|bucket|sum|count|created)$", "", name) for name in _read(client) if "evertune_" in name}
    not_drawn = {name for name in ours if name not in drawn}
    assert not_drawn == {"evertune_closing", "evertune_requests_per_minute"}
