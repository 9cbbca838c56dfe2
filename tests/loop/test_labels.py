"""Which labels a run learns from, and that the same ones are the same plan."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from tests.serving.log.made import answer, feedback, fill
from tests.support import small_project

from evertune.data import labelled
from evertune.data.labelled import LabelledRow
from evertune.data.split import position
from evertune.ledger import engine as ledger_engine
from evertune.ledger import runs, steps
from evertune.loop import labels
from evertune.loop.claim import claim
from evertune.loop.labels import Frozen, freeze
from evertune.project import Project
from evertune.records import Pins, Run, RunStatus, Step, Window
from evertune.settings import Settings
from evertune.text import row_id

NOW = datetime.now(UTC)


@pytest.fixture
def project() -> Project:
    document = small_project("spam", data=DATA, evaluation={})
    return Project.model_validate(document)


DATA: dict[str, Any] = {
    "sources": [{"uri": "rows.csv"}],
    "columns": {"text": "text", "label": "label"},
    "label": {"classes": ["a", "b"]},
}


def answers(where: Settings, count: int, **changes: Any) -> list[str]:
    made = [answer(number, answered=NOW - timedelta(hours=1), **changes) for number in range(count)]
    return fill(where.home, made)


def label(where: Settings, id_: str, truth: str, **changes: Any) -> None:
    fill(where.home, [feedback(id_, truth=truth, **{"at": NOW - timedelta(minutes=5), **changes})])


def rows(where: Settings, found: Frozen | None) -> list[LabelledRow]:
    assert found is not None
    return list(labelled.read(where, "spam", found.watermark))


def test_without_labels_there_is_nothing(where: Settings, project: Project) -> None:
    assert freeze(project, where) is None
    (first,) = answers(where, 1)
    fill(where.home, [feedback(first, truth=None, thumbs="up", at=NOW - timedelta(minutes=5))])
    assert freeze(project, where) is None
    assert not (where.home / "labels").exists()


def test_a_label_comes_with_all_that_the_data_need_to_know(where: Settings, project: Project) -> None:
    (first,) = answers(where, 1, group="f" * 64)
    label(where, first, "b", origin="expert", probability=0.25)
    found = freeze(project, where, NOW)
    (row,) = rows(where, found)
    assert row == LabelledRow(
        first, "text 0", "b", "f" * 64, "expert", 0.25, True, 3, NOW - timedelta(hours=1)
    )  # fmt: skip
    assert found is not None
    assert (found.rows, found.judged) == (1, 1)


def test_the_same_labels_are_the_same_file_whenever_they_are_read(where: Settings, project: Project) -> None:
    first, second = answers(where, 2)
    label(where, first, "a")
    before = freeze(project, where, NOW)
    label(where, first, "a", at=NOW - timedelta(minutes=1))  # the same again
    again = freeze(project, where, NOW + timedelta(hours=3))
    assert before is not None
    assert again is not None
    assert again.watermark == before.watermark
    label(where, second, "b")
    more = freeze(project, where, NOW)
    assert more is not None
    assert more.watermark != before.watermark


def test_labels_that_are_too_old_or_too_young_are_left_out(where: Settings, project: Project) -> None:
    old, young, good = answers(where, 3)
    label(where, old, "a", at=NOW - timedelta(days=91))
    label(where, young, "a", at=NOW - timedelta(seconds=1))
    label(where, good, "a")
    assert [row.prediction_id for row in rows(where, freeze(project, where, NOW))] == [good]


def test_of_one_text_the_most_trusted_label_counts(where: Settings, project: Project) -> None:
    same = [answer(0, answered=NOW, text="one text") for _ in range(3)]
    first, second, third = fill(where.home, same)
    label(where, first, "a", origin="expert", at=NOW - timedelta(minutes=9))
    label(where, second, "b")
    label(where, third, "a")
    found = rows(where, freeze(project, where, NOW))
    assert {row.prediction_id: row.label for row in found} == {first: "a", third: "a"}


@pytest.mark.parametrize(("confirming", "judged"), [(0, 0), (1, 0), (4, 20)])
def test_where_only_wrong_answers_are_reported_no_model_is_judged_on_it(
    where: Settings, project: Project, confirming: int, judged: int
) -> None:
    for number, id_ in enumerate(answers(where, 20)):  # the model answers a each time
        label(where, id_, "a" if number < confirming else "b")
    found = freeze(project, where, NOW)
    assert found is not None
    assert (found.rows, found.judged) == (20, judged)


def test_what_people_were_asked_for_is_judged_on_whatever_it_says(where: Settings, project: Project) -> None:
    asked, imported, unasked = answers(where, 3)
    label(where, asked, "b", probability=0.5)
    label(where, imported, "b", origin="import")
    label(where, unasked, "b")
    found = {row.prediction_id: row.judged for row in rows(where, freeze(project, where, NOW))}
    assert found == {asked: True, imported: True, unasked: False}


@pytest.fixture
def claimable(where: Settings, tmp_path: Path, project: Project, monkeypatch: pytest.MonkeyPatch) -> Project:
    """The project with a source that is there; its base model is told without being fetched."""
    monkeypatch.setattr("evertune.models.bases.fingerprint", lambda *_: "b" * 64)
    path = tmp_path / "rows.csv"
    path.write_text("text,label\none,a\n")
    data = {**DATA, "sources": [{"uri": str(path)}]}
    where.home.mkdir(exist_ok=True)
    return Project.model_validate(small_project("spam", data=data, evaluation={}))


def pins_of(where: Settings, run: Run | None) -> Pins:
    assert run is not None
    told = steps.result(ledger_engine.ready(where.database_url), run.key, Step.CLAIM)
    assert told is not None
    return Pins.model_validate(told["pins"])


def test_a_run_without_labels_is_planned_as_it_was(where: Settings, claimable: Project) -> None:
    run = claim(claimable, where, owner="me")
    assert run is not None
    told = steps.result(ledger_engine.ready(where.database_url), run.key, Step.CLAIM)
    assert told is not None
    assert set(told) == {"plan_hash", "pins", "project"}
    assert pins_of(where, run).label_watermark is None


def test_a_retry_learns_from_the_same_labels(where: Settings, claimable: Project) -> None:
    first, second = answers(where, 2)
    label(where, first, "b")
    run = claim(claimable, where, owner="me")
    before = pins_of(where, run).label_watermark
    assert before == next((where.home / "labels" / "spam").iterdir()).stem
    label(where, second, "a")
    assert pins_of(where, claim(claimable, where, owner="me")).label_watermark == before


def test_new_labels_are_a_new_plan_and_the_same_ones_are_not(where: Settings, claimable: Project) -> None:
    first, second = answers(where, 2)
    plans: list[str] = []
    for id_ in (first, first, second):
        label(where, id_, "a")
        run = claim(claimable, where, owner=f"owner {len(plans)}")
        assert run is not None
        engine = ledger_engine.ready(where.database_url)
        told = steps.result(engine, run.key, Step.CLAIM) or {}
        plans.append(told["plan_hash"])
        runs.fail(engine, run, "enough of it")
        assert run.status is RunStatus.ACTIVE
    assert plans[0] == plans[1] != plans[2]


def test_complaints_are_those_that_nobody_asked_for_and_that_never_agree() -> None:
    assert labels.complaints([]) is False


def window(since: datetime) -> Window:
    return Window(
        project="spam", number=1, generation=3, rows=9, parts=(), since=since, until=NOW, labels_until=NOW, created=NOW
    )


def usable(where: Settings, project: Project, since: datetime = NOW - timedelta(hours=1)) -> labels.Usable:
    return labels.usable(project, where, window(since), ("a", "b"), NOW)


def test_what_a_retrain_can_use_are_known_labels_of_the_drifted_traffic_each_text_once(
    where: Settings, project: Project
) -> None:
    first, second, unknown = answers(where, 3)
    (again,) = answers(where, 1)
    (other,) = fill(where.home, [answer(7, answered=NOW - timedelta(hours=1), generation=2)])
    for id_, truth in [(first, "a"), (second, "b"), (unknown, "never seen"), (again, "a"), (other, "a")]:
        label(where, id_, truth, origin="expert")
    assert usable(where, project).rows == 2
    assert usable(where, project, since=NOW - timedelta(minutes=30)).rows == 0


def test_of_what_a_retrain_can_use_the_split_says_what_is_judged_on(where: Settings, project: Project) -> None:
    for id_ in answers(where, 60):
        label(where, id_, "a", origin="expert")
    salt, share = project.preparation.split.salt, project.retraining.judged_share
    judged = sum(position(row_id(f"text {number}"), salt) < share for number in range(60))
    assert 0 < judged < 60
    found = usable(where, project)
    assert found.rows == 60
    assert found.judged == pytest.approx(judged)


def test_what_is_judged_on_is_counted_in_groups_too(where: Settings, project: Project) -> None:
    share = project.retraining.judged_share
    names = [f"document {number}" for number in range(20)]
    judged = [name for name in names if position(name, project.preparation.split.salt) < share]
    for id_ in fill(where.home, [answer(n, answered=NOW - timedelta(hours=1), group=names[n % 20]) for n in range(60)]):
        label(where, id_, "a", origin="expert")
    assert 0 < len(judged) < 20
    assert usable(where, project) == (60, 3 * len(judged), len(judged))


def test_rows_that_weigh_unlike_are_worth_fewer_to_judge_on(where: Settings, project: Project) -> None:
    for number, id_ in enumerate(answers(where, 60)):
        label(where, id_, "a", origin="expert", probability=0.1 + 0.8 * (number % 2))
    found = usable(where, project)
    assert found.rows == 60
    assert found.judged < 0.8 * sum(
        position(row_id(f"text {number}"), project.preparation.split.salt) < project.retraining.judged_share
        for number in range(60)
    )


def test_complaints_are_of_no_use_to_a_retrain(where: Settings, project: Project) -> None:
    for id_ in answers(where, 20):
        label(where, id_, "b")
    assert usable(where, project) == (0, 0.0, 0)
