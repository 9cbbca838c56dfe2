"""The monitor on a real log and a real ledger; only what answers is a stand-in."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import Engine, select, text
from tests.ledger.made import released
from tests.serving.log.made import answer, feedback, fill
from tests.support import small_project

from evertune import files
from evertune.data import versions
from evertune.ledger import alerts, events, runs, segments, steps, triggers, windows
from evertune.ledger import engine as engines
from evertune.ledger.events import Kind
from evertune.ledger.tables import RunRow
from evertune.ledger.traffic_tables import FindingsRow
from evertune.loop import labels, monitor, reference, window_findings, window_reports
from evertune.loop.claim import claim
from evertune.loop.learned import Labelled, Text, luck
from evertune.loop.monitor import Watched
from evertune.loop.status import status
from evertune.monitoring import workspace
from evertune.monitoring.detect import detect
from evertune.project import Project
from evertune.project.monitoring_options import Monitoring, QuietHours, Signals
from evertune.project.row_options import Preparation
from evertune.records import (
    AlertStatus,
    Cause,
    Dataset,
    Decision,
    EvertuneError,
    Outcome,
    Pins,
    Release,
    RowCounts,
    Run,
    Signal,
    Step,
    UnreachableError,
    Verdict,
    Window,
)
from evertune.releases import mlflow
from evertune.serving.engine.answers import Prediction
from evertune.serving.log import retention
from evertune.settings import Settings

START = datetime.now(UTC) - timedelta(hours=12)
PROJECT = Project.model_validate(small_project(
    data={"sources": [{"uri": "/x.csv"}], "columns": {"text": "body", "label": "label"}}, evaluation={}, slug="spam",
    monitoring={
        "window": {"rows": 100, "fewest_rows": 20},
        "policy": {"fewest_rows": 100, "fewest_labels": 50, "cooldown_hours": 1},
    },
    preparation={"near_duplicates": None},  # numbers tell these texts apart
    retraining={"fewest_judged": 10},
))  # fmt: skip
CHOOSY = PROJECT.model_copy(
    update={"monitoring": Monitoring.model_validate({"window": {"rows": 100, "fewest_rows": 101}})}
)
THINNED = PROJECT.model_copy(update={"preparation": Preparation(near_duplicates=0.85)})
TEMPLATE = "your_parcel_with_the_things_that_you_wanted_has_numbers"
"""A kind whose texts are so near each other; of the others none are, if their numbers have three digits or more."""
LABELS = ("bad", "good")


class Served:
    """Texts of one kind lie in one direction; how sure an answer is depends on the text."""

    labels = LABELS

    def answer(self, texts: Sequence[str]) -> list[Prediction]:
        return [predicted(text) for text in texts]


def predicted(text: str) -> Prediction:
    """The answer to a text such as ``review 17``: its first word is its kind."""
    kind, number = text.split()
    rng = np.random.default_rng([len(kind), int(number)])
    embedding = rng.normal(0, 0.5, 16)
    embedding[len(kind) % 16] += 3
    good = float(rng.uniform(0.02, 0.98))
    label = LABELS[good > 0.5]
    return Prediction(label, (1 - good, good), embedding.astype(np.float16), text, cut=False, tokens=3)


def serve(_settings: Settings, _release: Release) -> Any:
    return Served()


class Loop:
    """A project with a release, its traffic, and a monitor that looks at it."""

    def __init__(self, where: Settings, ledger: Engine) -> None:
        self.where, self.ledger, self.sent = where, ledger, 0
        self.now = START
        self.validation = [f"review {number}" for number in range(10_000, 10_400)]
        """Texts of the data set that the next release learns."""
        self.trained, self.untrained = list[str](), list[str]()
        """Ids of labelled answers in it."""
        self.picked: float | None = None
        """The chance with which people were asked for their labels."""

    def train(self, generation: int, cause: Cause = Cause.CLOCK, key: str = "", project: Project | None = None) -> Run:
        """A run from its claim to a release; with ``key`` it asks for itself."""
        if key:
            triggers.request(self.ledger, "spam", cause, key, "because")
        run = runs.claim(self.ledger, "spam", f"owner {generation}", 600)
        assert run is not None
        pins = Pins(sources={}, base="b", recipes={})
        frozen = {"project": project.model_dump(mode="json")} if project else {}
        steps.record(self.ledger, run, Step.CLAIM, {"pins": pins.model_dump(mode="json"), **frozen}, 0.0)
        steps.record(self.ledger, run, Step.PREPARE, self.dataset(run).model_dump(mode="json"), 0.0)
        released(self.ledger, run, generation)
        verdict = Verdict(decision=Decision.PROMOTE, reasons=("better",))
        runs.finish(self.ledger, run, Outcome(run_key=run.key, project="spam", method="full", verdict=verdict))
        return run

    def dataset(self, run: Run) -> Dataset:
        folder = self.where.runs / run.key / "data" / "spam" / "dataset"
        folder.mkdir(parents=True)
        texts = self.validation
        table = {"row_id": [files.hash_of(text) for text in texts], "text": texts}
        none = pa.nulls(len(texts), pa.string())
        known = pa.table({**table, "label": [predicted(t).label for t in texts], "id": none})
        pq.write_table(known, folder / "validation.parquet")
        pq.write_table(pa.table({"id": pa.array([None, *self.trained], pa.string())}), folder / "train.parquet")
        judged = [f"editorial {number}" for number in range(100, 160)]
        rows = {"row_id": [files.hash_of(text) for text in judged], "text": judged}
        labels = [predicted(text).label for text in judged]
        ids = (self.untrained + judged)[:60]
        chances = pa.array([self.picked] * 60, pa.float64())
        more = {"id": ids, "label": labels, "weight": [1.0] * 60, "probability": chances}
        pq.write_table(pa.table({**rows, **more}), folder / "recent.parquet")
        version = files.seal(folder)
        counts = RowCounts(drawn=800, quarantined=0, deduplicated=0, train=300, validation=400, test=100)
        return Dataset(project="spam", version=version, path=str(folder), rows=counts, labels=LABELS, lock="")

    def send(  # noqa: PLR0917 - what is sent, and how
        self, kind: str, count: int = 100, generation: int = 1, labels: bool = False, canned: int = 0,
        canned_kind: str | None = None, documents: int = 0,
    ) -> list[str]:  # fmt: skip
        """Texts are answered, an hour all together, and drained; with ``labels`` people say that all was right.

        The last ``canned`` of them are three texts again and again, or of a kind of their own. They are of
        so many ``documents``, or of one each.
        """
        first, self.sent = self.sent, self.sent + count
        made = []
        for number in range(first, first + count):
            self.now += timedelta(hours=1) / count
            often = f"{canned_kind} {number}" if canned_kind else f"thanks {number % 3}"
            said = predicted(often if number >= first + count - canned else f"{kind} {number}")
            output = {"label": said.label, "scores": list(said.scores), "cut": False, "tokens": 3}
            made.append(answer(number, "spam", text=said.text, generation=generation, output=output,
                               embedding=said.embedding, received=self.now, answered=self.now,
                               group=f"document {number % documents}" if documents else None))  # fmt: skip
        ids = self.log(made)
        if labels:
            truths = [predicted(one.text).label for one in made]
            at = datetime.now(UTC)
            self.log([feedback(id_, "spam", truth=truth, at=at) for id_, truth in zip(ids, truths, strict=True)])
        return ids

    def log(self, records: Any) -> list[str]:
        return fill(self.where.home, records, on_closed=lambda one: segments.record(self.ledger, one))

    def outlive_the_log(self) -> None:
        """All traffic so far falls out of retention."""
        since = datetime.now(UTC) + timedelta(days=2)
        assert retention.prune(self.where.home / "traffic", since, {"spam": since})
        assert segments.forget(self.ledger, {"spam": since})

    def watch(self, project: Project = PROJECT) -> Watched:
        return monitor.watch(project, self.where, serve)


@pytest.fixture
def loop(where: Settings, monkeypatch: pytest.MonkeyPatch) -> Loop:
    monkeypatch.setattr(mlflow, "reconcile", lambda *_: None)
    monkeypatch.setattr(windows, "SETTLED", timedelta())
    monkeypatch.setattr(labels, "SETTLED", timedelta())

    def written(settings: Settings, about: Window, *_: object) -> Path:
        return window_reports.folder_of(settings, "spam", about.number) / "report.html"

    monkeypatch.setattr(window_reports, "_written", written)
    monkeypatch.setattr(window_reports, "_published", lambda *parts: f"http://mlflow/{parts[3].number}")
    made = Loop(where, engines.ready(where.database_url))
    made.train(1, key="the first")
    return made


def raised(watched: Watched) -> list[tuple[Signal, ...]]:
    return [one.raised for one in watched.tested]


def test_traffic_as_the_release_knows_it_raises_nothing(loop: Loop) -> None:
    for _ in range(3):
        loop.send("review")
    watched = loop.watch()
    assert [window.rows for window in watched.windows] == [100, 100, 100]
    assert raised(watched) == [(), (), ()]
    assert (watched.alert, watched.wakes, watched.lost) == (None, False, 0)
    assert loop.watch() == watched.model_copy(update={"windows": (), "tested": ()})


def test_drift_without_labels_asks_for_labels_and_then_one_retrain_starts(loop: Loop) -> None:
    loop.send("review")
    loop.send("editorial")
    watched = loop.watch()
    assert raised(watched)[0] == ()
    assert Signal.EMBEDDING in raised(watched)[1]
    assert watched.alert is not None
    assert (watched.alert.status, watched.wakes) == (AlertStatus.OPEN, False)
    assert "label some" in watched.alert.ruling
    assert watched.alert.explanation is not None
    assert watched.alert.explanation.share > 0.5

    loop.send("editorial", labels=True)
    watched = loop.watch()
    assert watched.alert is not None
    assert (watched.alert.status, watched.wakes) == (AlertStatus.TRIGGERED, True)
    loop.send("editorial")
    again = loop.watch()
    assert again.wakes  # whoever was woken may have been lost
    assert again.alert is not None
    assert again.alert.status == AlertStatus.TRIGGERED
    assert [one.key for one in triggers.pending(loop.ledger, "spam")] == [watched.alert.key]
    assert len(alerts.history(loop.ledger, "spam")) == 1


def test_labels_of_few_documents_are_not_enough_for_a_retrain(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True, documents=8)
    watched = loop.watch()
    assert watched.alert is not None
    assert (watched.alert.status, watched.wakes) == (AlertStatus.OPEN, False)
    assert "no gain can be proven on fewer than 4, so labels of about" in watched.alert.ruling
    loop.send("editorial", labels=True, documents=50)
    assert loop.watch().wakes


def test_the_release_that_answers_an_alert_knows_its_traffic(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    loop.train(2)
    loop.send("editorial", generation=2)
    loop.send("editorial", generation=2, labels=True)
    watched = loop.watch()
    assert not watched.wakes
    assert raised(watched) == [(), ()]
    assert watched.tested[1].labelled == 100
    assert [one.status for one in alerts.history(loop.ledger, "spam")] == [AlertStatus.ANSWERED]
    known = reference.kept(loop.where, "spam", 2)
    assert known is not None
    assert {one.split()[0] for one in known.texts} == {"editorial"}
    assert int(known.truth_counts.sum()) == 60  # those that were judged on, and no other

    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    assert raised(loop.watch()) == [()]  # it knows what the one before it knew


def answered(loop: Loop) -> None:
    """Release 2 has come of an alert on editorials."""
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    loop.train(2)


def test_what_a_release_knows_outlives_the_traffic_log(loop: Loop) -> None:
    answered(loop)
    loop.send("editorial", generation=2)
    assert raised(loop.watch()) == [()]
    before = reference.kept(loop.where, "spam", 2)
    assert before is not None
    loop.outlive_the_log()
    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    (tested,) = loop.watch().tested
    assert (tested.raised, tested.lacks) == ((), "")
    known = reference.kept(loop.where, "spam", 3)
    assert known is not None
    assert (known.kept.ids, known.texts) == (before.kept.ids, before.texts)
    assert known.truth.tolist() == before.truth.tolist()
    assert int(known.truth_counts.sum()) == 60

    released(loop.ledger, runs.history(loop.ledger, "spam")[1], 4)  # back to the model of release 2
    loop.send("editorial", generation=4)
    assert raised(loop.watch()) == [()]


def test_what_a_release_should_know_and_nobody_has_kept_is_told(loop: Loop) -> None:
    answered(loop)
    loop.outlive_the_log()
    loop.send("editorial", generation=2)
    (tested,) = loop.watch().tested
    assert tested.raised
    assert "windows 1 to 2 (200 answers)" in tested.lacks
    assert "validation rows stand in" in tested.lacks
    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    assert loop.watch().tested[0].lacks == tested.lacks  # it knows what the one before it knew


def test_what_is_left_of_traffic_that_a_release_should_know_stands_for_all_and_that_is_told(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    loop.send("editorial", labels=True)
    loop.watch()
    loop.train(2)
    sorted(loop.where.home.rglob("*.answers.parquet"))[-1].unlink()
    loop.send("editorial", generation=2)
    (tested,) = loop.watch().tested
    assert tested.raised == ()
    assert "100 texts of it stand for all" in tested.lacks
    shutil.rmtree(reference.folder_of(loop.where, "spam", 2))
    loop.send("editorial", generation=2)
    monitor.window(PROJECT, loop.where)
    assert "validation rows stand in" in monitor.report(CHOOSY, loop.where, serve)[0].lacks


@pytest.mark.parametrize(("project", "kind", "stay"), [(PROJECT, None, 3), (THINNED, TEMPLATE, 1)])
def test_texts_that_are_sent_again_and_again_are_known_as_they_are_tested(
    loop: Loop, project: Project, kind: str | None, stay: int
) -> None:
    loop.sent = 1_000
    for _ in range(4):
        loop.send("editorial", labels=True, canned=30, canned_kind=kind)
    first = loop.watch(project)
    assert first.alert is not None
    assert first.wakes
    loop.train(2)
    for _ in range(3):
        loop.send("editorial", generation=2, canned=30, canned_kind=kind)
    assert raised(loop.watch(project)) == [(), (), ()]
    known = reference.kept(loop.where, "spam", 2)
    assert known is not None
    assert known.rows == (4 - first.alert.window) * (70 + stay)
    assert len(set(known.kept.ids)) == known.rows  # or all copies of a text would be kept, or none


def test_of_copies_in_a_reference_one_that_was_judged_stays(loop: Loop) -> None:
    loop.sent = 1_000
    loop.send("editorial", canned=30, canned_kind=TEMPLATE)
    loop.watch()
    judged = f"{TEMPLATE} 1085"
    labelled = Labelled({judged: "good"}, frozenset(), frozenset(), picked=False)
    found = reference._texts(loop.ledger, loop.where, windows.history(loop.ledger, "spam"), labelled, 0.85)
    assert [(one.text, one.label) for one in found.texts if one.text.startswith(TEMPLATE)] == [(judged, "good")]
    assert len(found.texts) == 71


def test_what_a_release_was_trained_on_is_no_part_of_what_its_traffic_is_compared_with(loop: Loop) -> None:
    loop.send("editorial")
    first = loop.send("editorial", labels=True, canned=30)
    again = loop.send("editorial", labels=True, canned=30)
    assert loop.watch().wakes
    loop.trained = [*first[50:73], *again[50:70]]  # of the canned texts one answer each
    loop.train(2)
    loop.send("editorial", generation=2)
    loop.watch()
    known = reference.kept(loop.where, "spam", 2)
    assert known is not None
    assert not set(loop.trained) & set(known.kept.ids)
    assert sorted(known.texts) == sorted([
        *(f"editorial {number}" for number in (*range(100, 150), *range(200, 250))),
        *(f"thanks {number}" for number in range(3)), *(f"thanks {number}" for number in range(3)),
    ])  # fmt: skip

    loop.outlive_the_log()
    loop.trained = again[:20]
    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    loop.watch()
    later = reference.kept(loop.where, "spam", 3)
    assert later is not None
    assert set(later.kept.ids) == set(known.kept.ids) - set(loop.trained)


def stay(unlabelled: list[str], picked: float | None) -> set[str]:
    """Half of those that were labelled have been left, so half of the others stay, by their luck; else all."""
    return {one for one in unlabelled if picked is None or luck(one) < 0.5}


@pytest.mark.parametrize("picked", [None, 0.5])
def test_labels_that_people_were_asked_for_do_not_change_the_mix_of_what_is_left(
    loop: Loop, picked: float | None
) -> None:
    loop.send("editorial", 40)
    first = loop.send("editorial", 60)
    ids = loop.send("editorial", labels=True)
    assert loop.watch().wakes
    loop.trained, loop.untrained, loop.picked = ids[:30], ids[30:60], picked
    loop.train(2)
    loop.send("editorial", generation=2)
    loop.watch()
    known = reference.kept(loop.where, "spam", 2)
    assert known is not None
    assert not set(first) & set(known.kept.ids)
    assert set(ids[30:60]) < set(known.kept.ids)
    assert set(ids[60:]) & set(known.kept.ids) == stay(ids[60:], picked)


def known_before(loop: Loop) -> list[str]:
    """Ids of what release 2 has kept of the drift, which the log has lost by now."""
    answered(loop)
    loop.send("editorial", generation=2)
    loop.watch()
    before = reference.kept(loop.where, "spam", 2)
    assert before is not None
    loop.outlive_the_log()
    return list(before.kept.ids)


def known_later(loop: Loop) -> tuple[list[str], str]:
    """Ids of what release 3, which came of no alert, compares with, and what that lacks."""
    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    (tested,) = loop.watch().tested
    known = reference.kept(loop.where, "spam", 3)
    assert known is not None
    assert known.lacks == tested.lacks
    return list(known.kept.ids), tested.lacks


@pytest.mark.parametrize("picked", [None, 0.5])
def test_nor_do_they_change_the_mix_of_what_an_earlier_release_knew(loop: Loop, picked: float | None) -> None:
    ids = known_before(loop)
    assert len(ids) == 100
    loop.trained, loop.untrained, loop.picked = ids[:30], ids[30:60], picked
    found, lacks = known_later(loop)
    assert lacks == ""
    assert set(ids[30:60]) < set(found) < set(ids[30:]) if picked else set(found) == set(ids[30:])
    assert set(ids[60:]) & set(found) == stay(ids[60:], picked)


@pytest.mark.parametrize("left", [0, 19])
def test_of_an_earlier_reference_too_little_that_was_not_trained_on_is_none(loop: Loop, left: int) -> None:
    ids = known_before(loop)
    loop.trained = ids[left:]
    found, lacks = known_later(loop)
    assert not set(found) & set(ids)
    assert "no longer has it in full, and no earlier reference has kept enough" in lacks
    assert "validation rows stand in" in lacks


def test_an_earlier_reference_of_few_texts_is_as_good_as_it_was(loop: Loop) -> None:
    ids = known_before(loop)
    loop.train(3, key="by the clock")
    loop.send("editorial", generation=3)
    monitor.window(PROJECT, loop.where)
    assert [one.lacks for one in monitor.report(CHOOSY, loop.where, serve)] == [""]
    known = reference.kept(loop.where, "spam", 3)
    assert known is not None
    assert known.kept.ids == ids


@pytest.mark.parametrize("left", [0, 19])
def test_a_release_that_was_trained_on_most_of_the_drift_says_so_and_not_that_the_log_has_lost_it(
    loop: Loop, left: int
) -> None:
    loop.send("editorial")
    loop.trained = loop.send("editorial", labels=True)[left:]
    assert loop.watch().wakes
    loop.train(2)
    loop.send("editorial", generation=2)
    (tested,) = loop.watch().tested
    assert "it was trained on what would show that" in tested.lacks
    assert "traffic log" not in tested.lacks


@pytest.mark.parametrize(("asked", "apart"), [(True, 0.03), (False, 0.2)])
def test_the_unsure_are_as_many_as_in_traffic_whoever_was_asked_about_them(asked: bool, apart: float) -> None:
    rng = np.random.default_rng(1)
    unsure = {f"id {number}": bool(rng.random() < 0.3) for number in range(3_000)}
    labelled = [id_ for id_, one in unsure.items() if rng.random() < (0.8 if one else 0.1)]
    trained = frozenset(id_ for id_ in labelled if rng.random() < 0.6)
    known = Labelled({}, trained, frozenset(labelled) - trained, picked=asked)
    left = [Text(id_, id_) for id_ in unsure if id_ not in trained]
    mixed = reference._as_mixed(left, len(trained), known, 50)
    gap = abs(np.mean([unsure[one.id] for one in mixed]) - np.mean([*unsure.values()]))
    assert gap < apart
    assert asked or gap > 0.08, "what this is for"


@pytest.mark.parametrize(("trained", "untrained"), [(20, 30), (200, 0), (200, 1)])
def test_where_little_is_missing_or_little_would_be_left_all_stay(trained: int, untrained: int) -> None:
    texts = [Text(f"id {number}", "") for number in range(500)]
    ids = frozenset(one.id for one in texts[:untrained])
    assert reference._as_mixed(texts, trained, Labelled({}, frozenset(), ids, picked=True), 50) == texts


def test_templates_that_a_data_set_has_once_are_no_drift(loop: Loop) -> None:
    loop.sent = 1_000
    for _ in range(3):
        loop.send("review", canned=30, canned_kind=TEMPLATE)
    watched = loop.watch(THINNED)
    assert raised(watched) == [(), (), ()]
    assert {one.findings[0].rows for one in watched.tested} == {71}


@pytest.mark.parametrize(
    ("learned", "now", "known", "tested"), [(THINNED, PROJECT, 401, 71), (PROJECT, THINNED, 430, 100)]
)
def test_both_sides_are_thinned_by_the_rule_that_the_release_has_learned(
    loop: Loop, learned: Project, now: Project, known: int, tested: int
) -> None:
    loop.validation += [f"{TEMPLATE} {number}" for number in range(1_000, 1_030)]
    loop.train(2, key="again", project=learned)
    loop.sent = 2_000
    loop.send("review", generation=2, canned=30, canned_kind=TEMPLATE, labels=True)
    (found,) = loop.watch(now).tested
    assert {one.signal: one.rows for one in found.findings} == dict.fromkeys(Signal, tested)
    made = reference.kept(loop.where, "spam", 2)
    assert made is not None
    assert made.rows == known


def rejected(loop: Loop) -> tuple[Run, Outcome]:
    """The run that works on the alert, and a verdict by which the release stays."""
    run = runs.claim(loop.ledger, "spam", "two", 600)
    assert run is not None
    verdict = Verdict(decision=Decision.REJECT, reasons=("no better",))
    return run, Outcome(run_key=run.key, project="spam", method="full", verdict=verdict)


def test_an_answered_alert_does_not_fire_again_where_the_release_stays(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    runs.finish(loop.ledger, *rejected(loop))
    loop.send("editorial", labels=True)
    watched = loop.watch()
    assert raised(watched) == [()]
    assert watched.tested[0].evidence > 1
    assert not watched.wakes


def daily(loop: Loop, kind: str, days: int = 1) -> None:
    """A window a day."""
    for _ in range(days):
        loop.now += timedelta(hours=23)
        loop.send(kind)


def told(loop: Loop) -> list[tuple[Kind, dict[str, Any]]]:
    """What was told of alerts."""
    every = events.after(loop.ledger, "spam", 0)
    return [(one.kind, one.payload) for one in every if one.kind in (Kind.ALERT, Kind.FADED)]


def test_an_alert_that_nobody_labels_fades_and_the_next_drift_is_an_alert_again(loop: Loop) -> None:
    loop.now -= timedelta(days=30)
    daily(loop, "review")
    daily(loop, "editorial", 2)
    daily(loop, "review", 6)
    assert loop.watch().alert is not None
    daily(loop, "review", 2)
    watched = loop.watch()
    assert [one.faded for one in watched.tested if one.faded] == [(Signal.EMBEDDING,)]
    assert watched.alert is None
    assert alerts.history(loop.ledger, "spam")[0].status == AlertStatus.FADED
    daily(loop, "editorial")
    watched = loop.watch()
    assert watched.alert is not None
    assert (watched.alert.key, watched.alert.status) == ("drift-1-12", AlertStatus.OPEN)
    assert [(kind, payload["alert"]) for kind, payload in told(loop)] == [
        (Kind.ALERT, "drift-1-2"), (Kind.FADED, "drift-1-2"), (Kind.ALERT, "drift-1-12")
    ]  # fmt: skip


def test_an_alert_does_not_fade_for_the_quiet_before_it(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.now -= timedelta(days=30)
    daily(loop, "review", 9)
    assert loop.watch().alert is None
    with engines.writing(loop.ledger) as session:
        last = session.get(FindingsRow, ("spam", 9))
        assert last is not None
        last.evidence = {**last.evidence, "by_signal": {**last.evidence["by_signal"], "embedding": 9.0}}

    def weak(*parts: Any, **more: Any) -> Any:
        return tuple(one.model_copy(update={"e": min(one.e, 0.9)}) for one in detect(*parts, **more))

    monkeypatch.setattr(window_findings, "detect", weak)
    daily(loop, "editorial")
    assert loop.watch().alert is not None, "few rows with a large effect, and enough evidence from before"
    daily(loop, "review")
    watched = loop.watch()
    assert [one.faded for one in watched.tested] == [()]
    assert watched.alert is not None


@pytest.mark.parametrize("others", [True, False])
def test_an_alert_of_a_signal_that_was_turned_off_fades(loop: Loop, others: bool) -> None:
    loop.send("editorial")
    found = loop.watch().alert
    assert found is not None
    assert found.signals == (Signal.EMBEDDING,)
    on = Signals(embedding=None) if others else Signals(**dict.fromkeys(Signal, None))
    off = PROJECT.model_copy(update={"monitoring": PROJECT.monitoring.model_copy(update={"signals": on})})
    loop.send("editorial")
    watched = loop.watch(off)
    assert [one.faded for one in watched.tested] == [(Signal.EMBEDDING,)]
    assert watched.alert is None
    (over,) = alerts.history(loop.ledger, "spam")
    assert (over.status, "no longer watched" in over.ruling) == (AlertStatus.FADED, True)


def test_a_drift_of_each_weekend_is_one_alert(loop: Loop) -> None:
    loop.now -= timedelta(days=30)
    for _ in range(3):
        daily(loop, "review", 5)
        daily(loop, "editorial", 2)
    loop.watch()
    assert [one.status for one in alerts.history(loop.ledger, "spam")] == [AlertStatus.OPEN]
    assert len(told(loop)) == 1


def test_a_further_drift_is_told_while_an_alert_stands(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.send("editorial")
    assert loop.watch().alert is not None

    def sure(text: str) -> Prediction:
        return usual(text)._replace(label="bad", scores=(0.97, 0.03))

    usual = predicted
    monkeypatch.setitem(globals(), "predicted", sure)
    loop.send("review")
    loop.send("review")
    watched = loop.watch()
    assert watched.alert is not None
    (_, first), *others = told(loop)
    further = [signal for _, payload in others for signal in payload["further"]]
    assert {"output", "label_mix"} <= set(further)
    assert len(further) == len(set(further))
    assert [*first["signals"], *further] == list(watched.alert.signals)
    assert {payload["alert"] for _, payload in others} == {watched.alert.key}
    assert watched.tested[0].report == "http://mlflow/2", "a report that people are told of is kept"
    assert len(told(loop)) == 1 + len(others)


def test_a_verdict_that_comes_while_a_window_is_tested_answers_that_window_too(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    no_better = rejected(loop)
    found = list[Any]()

    def slow(*parts: Any, **more: Any) -> Any:
        runs.finish(loop.ledger, *no_better)
        found.append(detect(*parts, **more))
        return found[-1]

    monkeypatch.setattr(window_findings, "detect", slow)
    loop.send("editorial", labels=True)
    watched = loop.watch()
    assert len(found) == 2, "what was found with the evidence of before is looked at anew"
    assert raised(watched) == [()]
    assert [one.status for one in alerts.history(loop.ledger, "spam")] == [AlertStatus.ANSWERED]
    assert not watched.wakes


def test_an_answered_alert_does_not_fire_again_through_the_labels_that_it_asked_for(loop: Loop) -> None:
    loop.send("editorial")
    ids = loop.send("editorial", labels=False)
    assert not loop.watch().wakes  # it asks for labels
    wrong = [("bad", "good")[predicted(f"editorial {number}").label == "bad"] for number in range(100, 200)]
    at = datetime.now(UTC)
    loop.log([feedback(id_, "spam", truth=truth, origin="expert", at=at)
              for id_, truth in zip(ids, wrong, strict=True)])  # fmt: skip
    assert loop.watch().wakes
    runs.finish(loop.ledger, *rejected(loop))
    loop.send("editorial")
    watched = loop.watch()
    assert watched.tested[0].labelled == 100
    assert {one.signal for one in watched.tested[0].findings if one.matters} >= {Signal.F1, Signal.ERRORS}
    assert raised(watched) == [()]
    assert not watched.wakes


def test_labels_are_counted_by_the_databases_clock(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    moment, asked = datetime(2026, 1, 1, tzinfo=UTC), list[object]()

    def usable(*parts: object) -> labels.Usable:
        asked.append(parts[-1])
        return labels.Usable(0, 0.0, 0)

    monkeypatch.setattr(engines, "clock", lambda _: moment)
    monkeypatch.setattr(labels, "usable", usable)
    loop.send("editorial")
    loop.watch()
    assert asked == [moment]


def test_nobody_is_woken_for_a_release_that_no_longer_answers(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    released(loop.ledger, runs.history(loop.ledger, "spam")[0], 2)
    assert not monitor.wakes(PROJECT, loop.where)
    assert alerts.history(loop.ledger, "spam")[0].status == AlertStatus.OUTDATED


def test_an_alert_against_what_no_longer_answers_needs_no_labels_counted(loop: Loop) -> None:
    loop.send("editorial")
    assert loop.watch().alert is not None
    triggers.request(loop.ledger, "spam", Cause.PERSON, "elsewhere", "because")
    run = runs.claim(loop.ledger, "spam", "another", 600)  # the ledger does not know what data it has learned
    assert run is not None
    released(loop.ledger, run, 2)
    assert monitor.decide(PROJECT, loop.where) is None
    assert alerts.history(loop.ledger, "spam")[0].status == AlertStatus.OUTDATED


def test_an_alert_that_is_raised_meanwhile_is_ruled_on_at_the_next_look(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    loop.send("editorial", labels=True)
    monitor.window(PROJECT, loop.where)
    monitor.report(PROJECT, loop.where, serve)
    with monkeypatch.context() as patch:
        patch.setattr(alerts, "open_one", lambda *_: None)
        found = monitor.decide(PROJECT, loop.where)
    assert found is not None
    assert (found.status, found.ruling) == (AlertStatus.OPEN, alerts.NOT_RULED)
    found = monitor.decide(PROJECT, loop.where)
    assert found is not None
    assert found.status == AlertStatus.TRIGGERED


def test_nobody_is_woken_for_what_somebody_works_on_or_what_failed(loop: Loop) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    run = runs.claim(loop.ledger, "spam", "two", 600)
    assert run is not None
    assert not monitor.wakes(PROJECT, loop.where)
    assert monitor.held_back(loop.ledger, PROJECT) == "", "it is begun"
    runs.fail(loop.ledger, run, "the disk is full")
    assert len(triggers.pending(loop.ledger, "spam")) == 1
    assert not monitor.wakes(PROJECT, loop.where)  # else it would fail every quarter of an hour
    assert "came to nothing, and the next is due at 20" in monitor.held_back(loop.ledger, PROJECT)


def failed(loop: Loop, ago: timedelta) -> None:
    """The retrain is begun, and has failed so long ago."""
    run = runs.claim(loop.ledger, "spam", "two", 600)
    assert run is not None
    runs.fail(loop.ledger, run, "the disk is full")
    long_ago(loop, "ended", ago)


def long_ago(loop: Loop, column: str, ago: timedelta) -> None:
    """So long ago the newest run ended, or its lease did."""
    with engines.writing(loop.ledger) as session:
        last = session.scalar(select(RunRow).order_by(RunRow.id.desc()).limit(1))
        setattr(last, column, engines.clock(session) - ago)


def with_policy(**options: Any) -> Project:
    changed = PROJECT.monitoring.policy.model_copy(update=options)
    return PROJECT.model_copy(update={"monitoring": PROJECT.monitoring.model_copy(update={"policy": changed})})


def test_in_quiet_hours_nobody_is_woken_whether_it_is_begun_or_begun_again(loop: Loop) -> None:
    loop.send("editorial", labels=True)
    quiet = with_policy(quiet_hours=QuietHours(start="00:00", end="00:00"))  # all day
    assert loop.watch().wakes
    assert not monitor.wakes(quiet, loop.where)
    failed(loop, timedelta(hours=2))
    assert monitor.wakes(PROJECT, loop.where)
    assert not monitor.wakes(quiet, loop.where)
    assert "these are quiet hours (00:00 to 00:00" in loop.watch(quiet).held_back
    assert "these are quiet hours" in status(quiet, loop.where).held_back
    assert monitor.held_back(loop.ledger, PROJECT) == ""


def test_status_tells_of_no_retrain_against_what_no_longer_answers(loop: Loop) -> None:
    loop.send("editorial", labels=True)
    quiet = with_policy(quiet_hours=QuietHours(start="00:00", end="00:00"))  # all day
    assert loop.watch().wakes
    assert "these are quiet hours" in status(quiet, loop.where).held_back
    released(loop.ledger, runs.history(loop.ledger, "spam")[0], 2)
    told = status(quiet, loop.where)
    assert (told.asked, told.held_back) == ((), "")


def test_a_retrain_that_is_begun_again_counts_again_in_its_week(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    for wakes in (True, True, False):
        failed(loop, timedelta(days=1))
        assert monitor.wakes(PROJECT, loop.where) is wakes  # three a week
    assert "there were 3 in the last seven days, 3 are allowed" in monitor.held_back(loop.ledger, PROJECT)
    assert monitor.wakes(with_policy(retrains_per_week=4), loop.where)
    assert not monitor.wakes(with_policy(retrains_per_week=0), loop.where)
    now = datetime.now(UTC)
    monkeypatch.setattr(engines, "clock", lambda _: now + timedelta(days=8))
    assert monitor.wakes(PROJECT, loop.where)


def test_a_retrain_that_was_cut_off_is_taken_over_though_it_has_used_the_week_up(loop: Loop) -> None:
    loop.send("editorial", labels=True)
    assert loop.watch().wakes
    assert runs.claim(loop.ledger, "spam", "killed", 600) is not None
    long_ago(loop, "lease_until", timedelta(hours=2))
    once = with_policy(retrains_per_week=1)
    assert monitor.wakes(once, loop.where)
    assert not monitor.wakes(with_policy(retrains_per_week=0), loop.where)
    assert not monitor.wakes(with_policy(quiet_hours=QuietHours(start="00:00", end="00:00")), loop.where)
    failed(loop, timedelta(hours=2))
    assert not monitor.wakes(once, loop.where), "now it would be begun again"
    assert monitor.wakes(with_policy(retrains_per_week=2), loop.where)


def test_an_alert_that_comes_while_a_run_is_at_work_waits_for_the_next(loop: Loop) -> None:
    triggers.request(loop.ledger, "spam", Cause.CLOCK, "night", "night")
    run = runs.claim(loop.ledger, "spam", "the night's", 600)
    assert run is not None
    loop.send("editorial")
    loop.send("editorial", labels=True)
    watched = loop.watch()
    assert watched.alert is not None
    assert (watched.alert.status, watched.wakes) == (AlertStatus.TRIGGERED, False)
    assert watched.held_back == "a run is at work that was begun without it"
    verdict = Verdict(decision=Decision.REJECT, reasons=("no better",))
    runs.finish(loop.ledger, run, Outcome(run_key=run.key, project="spam", method="full", verdict=verdict))
    assert loop.watch().wakes


def test_whoever_is_woken_asks_for_nothing_himself(loop: Loop) -> None:
    assert claim(PROJECT, loop.where, owner="woken for nothing", cause=Cause.ALERT) is None
    assert triggers.pending(loop.ledger, "spam") == []


def test_each_step_can_be_killed_and_called_again(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    loop.send("editorial")
    loop.send("editorial", labels=True)
    assert len(monitor.window(PROJECT, loop.where)) == 2

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(alerts, "record", killed)
        with pytest.raises(KeyboardInterrupt):
            monitor.report(PROJECT, loop.where, serve)
    assert monitor.window(PROJECT, loop.where) == []
    tested = monitor.report(PROJECT, loop.where, serve)
    assert [one.window for one in tested] == [1, 2]
    with monkeypatch.context() as patch:
        patch.setattr(triggers, "insert", killed)
        with pytest.raises(KeyboardInterrupt):
            monitor.decide(PROJECT, loop.where)
    assert alerts.history(loop.ledger, "spam")[0].status == AlertStatus.OPEN
    found = monitor.decide(PROJECT, loop.where)
    assert found is not None
    assert found.status == AlertStatus.TRIGGERED


def test_a_partition_that_is_gone_or_torn_is_passed_over(loop: Loop) -> None:
    loop.send("review", 60)
    loop.send("review", 60)
    first, second = sorted(loop.where.home.rglob("*.answers.parquet"))
    second.write_bytes(second.read_bytes()[:200])
    watched = loop.watch()
    assert (watched.windows, watched.lost) == ((), 60)
    loop.send("review", 60)
    watched = loop.watch()
    assert [window.rows for window in watched.windows] == [100]
    assert loop.watch().lost == 60
    first.unlink()
    assert windows.history(loop.ledger, "spam")[0].evidence is not None


def test_rows_that_go_between_cut_and_test_are_left_out(loop: Loop) -> None:
    loop.send("review", 60)
    loop.send("review", 60)
    monitor.window(PROJECT, loop.where)
    min(loop.where.home.rglob("*.answers.parquet")).unlink()
    tested = monitor.report(PROJECT, loop.where, serve)
    assert {finding.rows for finding in tested[0].findings} <= {0, 40}


def test_a_log_that_is_away_is_no_log_that_is_empty(loop: Loop) -> None:
    loop.send("review")
    shutil.move(loop.where.home / "traffic" / "parquet", loop.where.home / "away")
    with pytest.raises(UnreachableError, match="EVERTUNE_HOME"):
        loop.watch()
    shutil.move(loop.where.home / "away", loop.where.home / "traffic" / "parquet")
    assert len(loop.watch().windows) == 1


def test_a_reference_that_is_gone_is_made_again(loop: Loop) -> None:
    loop.send("review")
    loop.watch()
    folder = reference.folder_of(loop.where, "spam", 1)
    (folder / "reference.npz").write_bytes(b"torn")
    loop.send("review")
    assert raised(loop.watch()) == [()]
    files.verify(folder)


def test_a_data_set_whose_workspace_is_gone_comes_from_the_remote(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    (there,) = loop.where.runs.glob("*/data/spam/dataset")
    away = Path(shutil.move(there, loop.where.home / "remote-copy"))
    shutil.rmtree(loop.where.runs)
    asked: list[tuple[str, ...]] = []

    def checkout(_settings: Settings, _lock: str, project: Project, _pins: Pins, _to: Path) -> Path:
        asked.append(tuple(source.uri for source in project.data.sources))
        return away

    monkeypatch.setattr(versions, "checkout", checkout)
    loop.send("review")
    assert raised(loop.watch()) == [()]
    assert asked == [()]  # the run knew no /x.csv: it came into the file later


def test_a_reference_that_cannot_be_made_says_why_and_loses_nothing(
    loop: Loop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(loop.where.runs)
    loop.send("review")

    def gone(*_: object) -> Path:
        raise EvertuneError("the remote has not got it")

    monkeypatch.setattr(versions, "checkout", gone)
    with pytest.raises(EvertuneError, match="the remote"):
        loop.watch()
    with engines.writing(loop.ledger) as session:
        session.execute(text("DELETE FROM steps"))
    with pytest.raises(EvertuneError, match=r"reference of release 1 of spam cannot be made.*EVERTUNE_DATABASE_URL"):
        loop.watch()
    assert len(windows.history(loop.ledger, "spam")) == 1
    assert windows.untested(loop.ledger, "spam") is not None


def test_a_window_of_an_older_release_is_recorded_untested(loop: Loop) -> None:
    loop.send("editorial")
    loop.train(2, key="by the clock")
    watched = loop.watch()
    assert watched.tested[0].findings == ()
    assert watched.alert is None


def test_a_window_of_an_older_release_is_tested_where_its_reference_is_there_and_raises_nothing(loop: Loop) -> None:
    loop.send("review")
    loop.watch()
    loop.send("editorial")
    loop.train(2, key="by the clock")
    watched = loop.watch()
    assert watched.tested[0].evidence > 1
    assert raised(watched) == [()], "the report must not tell of an alert that the ledger has not"
    assert alerts.history(loop.ledger, "spam") == []


def test_labels_that_are_sent_twice_count_in_one_window(loop: Loop) -> None:
    ids = loop.send("review")
    for counted in (100, 0):
        at = datetime.now(UTC)
        said = [feedback(id_, "spam", truth=predicted(f"review {n}").label, at=at) for n, id_ in enumerate(ids)]
        loop.log(said)
        assert [one.labelled for one in loop.watch().tested] == [counted]
        loop.send("review")


def test_a_label_dated_by_a_clock_that_is_behind_counts_in_the_next_window(loop: Loop) -> None:
    ids = loop.send("review")
    behind = datetime.now(UTC) - timedelta(minutes=10)
    said = [feedback(id_, "spam", truth=predicted(f"review {n}").label, at=behind) for n, id_ in enumerate(ids)]
    loop.log(said[:60])
    assert [one.labelled for one in loop.watch().tested] == [60]
    loop.log(said[60:])
    for counted in (40, 0):
        loop.send("review")
        assert [one.labelled for one in loop.watch().tested] == [counted]


def test_who_only_reports_wrong_answers_raises_nothing_and_starts_nothing(loop: Loop) -> None:
    ids = loop.send("review")
    wrong = [LABELS[predicted(f"review {number}").label == "bad"] for number in range(60)]
    at = datetime.now(UTC)
    loop.log([feedback(id_, "spam", truth=truth, at=at) for id_, truth in zip(ids, wrong, strict=False)])
    watched = loop.watch()
    assert raised(watched) == [()]
    assert watched.tested[0].labelled == 0
    ids = loop.send("editorial")
    wrong = [LABELS[predicted(f"editorial {number}").label == "bad"] for number in range(100, 200)]
    loop.log([feedback(id_, "spam", truth=truth, at=at) for id_, truth in zip(ids, wrong, strict=True)])
    watched = loop.watch()
    assert watched.alert is not None
    assert watched.alert.ruling.startswith("No retrain yet: 0 of the drifted texts have a usable label")


@pytest.mark.parametrize("kind", ["same", "unknown labels", "other scores"])
def test_odd_traffic_raises_nothing_by_itself(loop: Loop, kind: str) -> None:
    loop.now += timedelta(hours=1)
    said = predicted("review 10001")
    scores = [0.2, 0.3, 0.5] if kind == "other scores" else list(said.scores)
    output = {"label": said.label, "scores": scores, "cut": False, "tokens": 3}
    one = answer(1, "spam", text=said.text, generation=1, output=output, received=loop.now, answered=loop.now,
                 embedding=None if kind == "other scores" else said.embedding)  # fmt: skip
    ids = loop.log([one] * 100)
    if kind == "unknown labels":
        loop.log([feedback(id_, "spam", truth="never seen", at=datetime.now(UTC)) for id_ in ids])
    watched = loop.watch()
    assert raised(watched) == [()]


def test_reports_that_raised_an_alert_are_published_and_one_a_day(loop: Loop) -> None:
    for _ in range(3):
        loop.send("review")
    loop.send("editorial")
    loop.send("editorial")
    found = [one.report for one in loop.watch().tested]
    assert (found[0], found[3]) == ("http://mlflow/1", "http://mlflow/4")
    assert [Path(found[place]).parent.name for place in (1, 2, 4)] == ["000002", "000003", "000005"]


def test_what_is_not_published_is_seen_in_evidentlys_interface(loop: Loop) -> None:
    loop.where = loop.where.model_copy(update={"evidently_ui": "http://evidently/"})
    for _ in range(3):
        loop.send("review")
    first, *others = [one.report for one in loop.watch().tested]
    assert first == "http://mlflow/1"
    told = windows.history(loop.ledger, "spam")[1:]
    assert others == [f"http://evidently{workspace.path_of(one)}" for one in told]
    with engines.writing(loop.ledger) as session:
        session.execute(text("UPDATE windows SET created = datetime(created, '-1 day') WHERE number = 1"))
    loop.send("review")
    assert [one.report for one in loop.watch().tested] == ["http://mlflow/4"]  # those do not count as published


def test_a_report_that_cannot_be_made_holds_nothing_up(loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> Path:
        raise ZeroDivisionError

    def away(*_: object) -> str:
        raise UnreachableError("MLflow does not answer")

    monkeypatch.setattr(window_reports, "_published", away)
    loop.send("editorial")
    assert [Path(one.report).parent.name for one in loop.watch().tested] == ["000001"]
    monkeypatch.setattr(window_reports, "_written", fails)
    loop.send("editorial")
    watched = loop.watch()
    assert [one.report for one in watched.tested] == [""]
    assert watched.unreported == 1


@pytest.mark.integration  # Evidently takes seconds to import
def test_a_report_is_written_for_each_window(where: Settings, loop: Loop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(mlflow, "reconcile", lambda *_: None)
    monkeypatch.setattr(window_reports, "_published", lambda *parts: str(parts[-1]))
    loop.send("review")
    (tested,) = loop.watch().tested
    assert Path(tested.report).is_file()
    assert Path(tested.report).is_relative_to(where.home / "monitoring" / "spam" / "reports")
