from __future__ import annotations

import yaml

from evertune.project import Project
from evertune.records import Evaluation, Recent
from evertune.releases.mlflow import model_card


def test_the_card_has_what_a_reader_asks_for(project: Project, evaluation: Evaluation) -> None:
    card = model_card(project, evaluation, {"method": "full", "digest": "abc", "data_version": "d" * 64})
    head = yaml.safe_load(card.split("---\n")[1])
    assert head["language"] == "en"
    assert head["model-index"][0]["results"][0]["metrics"][0] == {"type": "accuracy", "value": 0.85}
    for said in (
        project.slug, "`bad`, `good`", "90 MB; one row takes 1.5 ms (median), 3.2 ms (p95)", "champion (generation 3)",
        "baseline: majority", "0.8470", "`domain=a\\|b`", "/data/reviews.csv", "digest: `abc`",
        "run: `run-1`", "100 test rows",
    ):  # fmt: skip
        assert said in card, said


def test_the_card_of_a_first_model_has_no_champion_and_no_slices(project: Project, evaluation: Evaluation) -> None:
    first = evaluation.model_copy(update={"champion": None, "slices": (), "latency_ms": {}})
    card = model_card(project, first, {})
    assert "champion" not in card
    assert "slice" not in card
    assert "median" not in card


def test_quality_on_recent_traffic_stands_apart(project: Project, evaluation: Evaluation) -> None:
    assert "recent traffic" not in model_card(project, evaluation, {})
    scores = evaluation.challenger.model_copy(update={"f1": 0.7654})
    recent = Recent(rows=180, effective_rows=120.4, challenger=scores, champion=evaluation.champion)
    card = model_card(project, evaluation.model_copy(update={"recent": recent}), {})
    assert "On 180 labelled rows of traffic" in card
    assert "as precise as 120 rows" in card
    assert "0.7654" in card
