"""A retrain on labelled traffic, with a real trainer, DVC, Great Expectations and MLflow."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tests.serving.log.made import answer, feedback, fill
from tests.support import REVIEWS, small_project, write_project

from evertune.data.sources import fingerprint, open_rows
from evertune.ledger import engine as ledger_engine
from evertune.ledger import steps
from evertune.loop.run import run
from evertune.project import Project
from evertune.records import Decision, Outcome, Step
from evertune.settings import Settings
from evertune.text import pseudonym

pytestmark = pytest.mark.integration

EDITORIALS = REVIEWS.replace("amazonReviewSnippets", "nytEditorialSnippets")


def editorials(project: Project, where: Settings) -> list[tuple[str, str, str]]:
    """Document, text and class of sentences that the project was not trained on."""
    source = project.data.sources[0].model_copy(update={"uri": EDITORIALS, "rows": None})
    columns = project.data.columns
    found = []
    assert columns.id is not None
    with open_rows(source, fingerprint(source, where), [columns.id, columns.label, columns.text], where) as rows:
        for (name, score, text), fault in rows:
            if fault is None and name and text and abs(float(score or 0)) >= 0.5:
                found.append((name.split("_")[0], text, "positive" if float(score or 0) > 0 else "negative"))
    return found


def replay(where: Settings, slug: str, said: list[tuple[str, str, str]]) -> None:
    """Log answers to the texts, and what they should have been."""
    now = datetime.now(UTC)
    made = [
        answer(number, project=slug, text=text, group=pseudonym(document, slug, ""), generation=1,
               output={"label": "positive" if number % 4 else "negative"}, answered=now - timedelta(minutes=30))
        for number, (document, text, _) in enumerate(said)
    ]  # fmt: skip
    ids = fill(where.home, made)
    labels = [
        feedback(id_, project=slug, generation=1, truth=label, at=now - timedelta(minutes=10))
        for id_, (_, _, label) in zip(ids, said, strict=True)
    ]
    fill(where.home, labels)


def rows_of(where: Settings, outcome: Outcome, slug: str, split: str) -> list[dict[str, Any]]:
    path = where.runs / outcome.run_key / "data" / slug / "dataset" / f"{split}.parquet"
    rows: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return rows


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_retrain_learns_from_labelled_traffic_and_is_judged_on_it(environment: Settings) -> None:
    slug = "small-reviews"
    document = small_project(retraining={"judged_share": 0.3, "frozen_margin": 0.06, "traffic_share": 0.7})
    write_project(environment, document)
    project = Project.model_validate(document)
    first = run(project, environment)
    assert first.verdict is not None
    assert first.verdict.decision is Decision.PROMOTE
    assert first.recent is None

    replay(environment, slug, editorials(project, environment)[:700])
    second = run(project, environment)
    assert second.rows is not None
    assert second.rows.traffic is not None
    assert second.rows.traffic.labelled == 700
    assert second.rows.traffic.recent == pytest.approx(210, abs=60)
    assert second.rows.model_copy(update={"traffic": None, "deduplicated": 0, "train": 0}) == (
        first.rows and first.rows.model_copy(update={"deduplicated": 0, "train": 0})
    )
    tests = [
        sha256(environment.runs / outcome.run_key / "data" / slug / "dataset" / "test.parquet")
        for outcome in (first, second)
    ]
    assert tests[0] == tests[1]
    assert second.verdict is not None
    assert second.verdict.judged_on == "traffic"
    assert second.recent is not None
    assert second.recent.champion is not None
    assert second.recent.rows == second.recent.effective_rows == second.rows.traffic.recent
    judged, learnt = rows_of(environment, second, slug, "recent"), rows_of(environment, second, slug, "train")
    for name in ("row_id", "group"):
        assert not {row[name] for row in judged} & {row[name] for row in learnt}

    # The same labels again are the same plan; the pins name them, and no model is trained.
    third = run(project, environment)
    assert third.verdict is not None
    assert third.verdict.decision is Decision.UNCHANGED
    engine = ledger_engine.ready(environment.database_url)
    claimed = steps.result(engine, second.run_key, Step.CLAIM) or {}
    assert claimed["pins"]["label_watermark"] == claimed["labels"]["watermark"]
    assert sorted(path.stem for path in (environment.home / "labels" / slug).iterdir()) == [
        claimed["labels"]["watermark"]
    ]
