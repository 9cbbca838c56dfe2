"""What is drawn for review out of the log, and labels that go out and come in as JSON Lines."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import Engine
from tests.serving.http import world
from tests.serving.log.made import answer, feedback, fill
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.labels import app
from evertune.ledger import engine as engines
from evertune.ledger import segments
from evertune.loop import label_files, review, serve
from evertune.loop.review import Answering, Draw, Review, drawn
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project.load import find, load
from evertune.project.options import Project
from evertune.records import UnfitError
from evertune.serving.labelling import Drawn
from evertune.serving.log.labels import Labelled, labelled
from evertune.serving.log.reading import feedback_of
from evertune.serving.picks import Picks
from evertune.settings import Settings
from evertune.text import pseudonym

SLUG, LABELS = "small-reviews", ("negative", "positive")
RELEASE = Answering(3, LABELS)


def log(home: Path, rows: int = 12, drained: bool = True, **changes: Any) -> list[str]:
    rng = np.random.default_rng(rows)
    records = [answer(row, SLUG, embedding=rng.normal(size=8).astype(np.float16), **changes) for row in range(rows)]
    with pytest.MonkeyPatch.context() as patch:
        if not drained:
            patch.setattr("evertune.serving.log.traffic.drain", lambda *_: 0)
        return fill(home, records)


def say(home: Path, id_: str, **changes: Any) -> None:
    fill(home, [feedback(id_, SLUG, **changes)])


@pytest.mark.parametrize("is_drained", [True, False])
def test_all_unlabelled_answers_of_the_release_are_drawn_from(tmp_path: Path, is_drained: bool) -> None:
    ids = log(tmp_path, drained=is_drained)
    log(tmp_path, 2, generation=2, text="of an older release")
    fill(tmp_path, [answer(99, SLUG, embedding=None), answer(98, SLUG, output={"translation": "hola"})])
    say(tmp_path, ids[0], truth="positive")
    say(tmp_path, ids[1], truth=None, thumbs="up")
    found = {row.id: row for row in drawn(tmp_path, SLUG, RELEASE).rows}
    assert found.keys() >= set(ids[1:])
    assert ids[0] not in found
    assert all(row.text != "of an older release" for row in found.values())
    assert found[ids[1]].text == "text 1"
    assert found[ids[1]].scores == {"negative": 0.25, "positive": 0.75}
    assert found[ids[1]].probability == 1.0


def test_what_says_the_same_as_a_labelled_answer_is_not_asked_again(tmp_path: Path) -> None:
    ids = log(tmp_path, 4, text="the same")
    say(tmp_path, ids[2], truth="positive")
    assert drawn(tmp_path, SLUG, RELEASE).rows == []


def test_nothing_is_drawn_without_traffic_and_a_spoiled_file_is_passed_over(tmp_path: Path) -> None:
    assert drawn(tmp_path, SLUG, RELEASE).rows == []
    log(tmp_path, 3)
    log(tmp_path, 4)
    (spoiled, *_) = sorted(tmp_path.rglob("*.answers.parquet"))
    spoiled.write_bytes(spoiled.read_bytes()[:-30])
    assert len(drawn(tmp_path, SLUG, RELEASE).rows) == 4


def test_the_releases_reference_says_what_is_new(tmp_path: Path) -> None:
    known = fill(tmp_path, [answer(1, SLUG, embedding=np.full(8, 1, np.float16))])[0]
    near = np.random.default_rng(0).normal(size=(40, 8)).astype(np.float32) * 0.01 + 1
    (odd,) = fill(tmp_path, [answer(99, SLUG, embedding=np.full(8, -1, np.float16))])
    sample = Sample(
        near, np.full((40, 2), 0.5), [str(row) for row in range(40)], LABELS, np.zeros(40, np.int64), np.ones(40)
    )
    folder = tmp_path / "monitoring" / SLUG / "3"
    before = {row.id: row for row in drawn(tmp_path, SLUG, RELEASE).rows}
    assert all("unlike" not in row.why for row in before.values())
    Reference.of(sample).write(folder)
    after = {row.id: row for row in drawn(tmp_path, SLUG, RELEASE).rows}
    assert "unlike" in after[odd].why
    assert "unlike" not in after[known].why
    (folder / "reference.npz").write_bytes(b"torn")
    assert {row.id: row for row in drawn(tmp_path, SLUG, RELEASE).rows} == before


def test_a_draw_holds_for_a_while_without_what_is_labelled_meanwhile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = log(tmp_path)
    releases: dict[str, Answering] = {SLUG: RELEASE}
    queue = Review(tmp_path, releases.get)
    assert len(queue.draw(SLUG)) == 12
    assert queue.draw("unknown") == []
    queue.labelled(SLUG, {ids[0]})
    log(tmp_path, 3, text="another")
    assert {row.id for row in queue.draw(SLUG)} == set(ids[1:])
    releases[SLUG] = RELEASE._replace(generation=4)
    assert queue.draw(SLUG) == []
    releases[SLUG] = RELEASE
    monkeypatch.setattr(review, "_FRESH_S", 0.0)
    monkeypatch.setattr(review, "_REST", 0)
    queue._draws.clear()
    assert len(queue.draw(SLUG)) == 13  # the log has no label of the first, and three new ones say the same


def test_a_draw_that_took_long_holds_for_longer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = iter([100.0, 100.0, 103.0, 162.0, 163.1, 163.1, 163.1])
    draws: list[int] = []

    def draw(*_: object) -> Draw:
        draws.append(1)
        return Draw([], frozenset())

    monkeypatch.setattr(review, "drawn", draw)
    queue = Review(tmp_path, lambda _: RELEASE, lambda: next(seconds))
    for _ in range(2):
        queue.draw(SLUG)  # at 100, taking 3 seconds; at 162
    assert len(draws) == 1
    queue.draw(SLUG)
    assert len(draws) == 2


def test_an_answer_is_told_the_highest_chance_with_which_it_was_ever_drawn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "_FRESH_S", 0.0)
    monkeypatch.setattr(review, "_REST", 0)
    chances = iter([0.5, 0.2, 0.8, 0.3])
    monkeypatch.setattr(
        review, "drawn", lambda *_: Draw([Drawn("id", "text", {}, next(chances), "why")], frozenset({"id"}))
    )
    generations = iter([3, 3, 3, 4])
    queue = Review(tmp_path, lambda _: Answering(next(generations), LABELS))
    assert [queue.draw(SLUG)[0].probability for _ in range(4)] == [0.5, 0.5, 0.8, 0.3]


def test_what_is_remembered_of_draws_does_not_outgrow_the_pool(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:  # fmt: skip
    monkeypatch.setattr(review, "_FRESH_S", 0.0)
    monkeypatch.setattr(review, "_REST", 0)
    monkeypatch.setattr(review, "POOL", 20)
    monkeypatch.setattr(review, "QUEUE", 8)
    queue = Review(tmp_path, lambda _: RELEASE)
    ids: list[str] = []
    chances: dict[str, float] = {}
    for _ in range(6):
        ids = log(tmp_path, 8)
        newest = {row.id: row.probability for row in queue.draw(SLUG)}
        known = queue._draws[SLUG]
        assert len(known.drawn.pool) <= 20
        assert known.told.keys() <= known.drawn.pool
        # What is still in the pool keeps its chance, drawn this time or not.
        assert all(known.told[id_] >= chance for id_, chance in chances.items() if id_ in known.drawn.pool)
        chances |= newest
    queue.labelled(SLUG, {*ids[:1], "of another pool"})
    assert queue._draws[SLUG].labelled == set(ids[:1])


def test_a_server_draws_from_the_answers_of_the_release_that_it_serves(environment: Settings, tmp_path: Path) -> None:
    where = environment.model_copy(update={"subject_salt": "pepper"})
    ids = log(where.home)
    with serve.service(where, serve.Options()) as made:
        assert made.review.draw(SLUG) == []
        made.live.switch(world.served(SLUG, 3, tmp_path))
        (*_, last) = made.review.draw(SLUG)
        assert last.scores == {"negative": 0.25, "positive": 0.75}
        assert {row.id for row in made.review.draw(SLUG)} == set(ids)
        assert made.salt == "pepper"
        proof = made.picks.sign(SLUG, last.id, 0.5)
        asyncio.run(made.close())
    assert Picks.of(where.home).read(SLUG, last.id, proof) == 0.5, "the command line reads what a server signed"


# -- JSON Lines


@pytest.fixture
def ledger(environment: Settings) -> Engine:
    return engines.ready(environment.database_url)


@pytest.fixture
def project(environment: Settings, monkeypatch: pytest.MonkeyPatch, ledger: Engine) -> Project:
    write_project(environment, small_project())
    monkeypatch.setattr(label_files, "_answering", lambda *_: RELEASE)
    assert ledger
    return load(find(SLUG, environment))


def write(path: Path, lines: Sequence[object]) -> Path:
    path.write_bytes(b"".join((one if isinstance(one, bytes) else json.dumps(one).encode()) + b"\n" for one in lines))
    return path


def labels(settings: Settings) -> list[Labelled]:
    return labelled(settings.home / "traffic", SLUG, None, datetime.now(UTC) + timedelta(minutes=1))


def test_what_goes_out_and_is_filled_in_comes_in(
    project: Project, environment: Settings, ledger: Engine, tmp_path: Path
) -> None:
    log(environment.home)
    path = tmp_path / "queue.jsonl"
    assert label_files.export(project, environment, path) == 12
    lines = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    assert lines[0]["label"] is None
    assert lines[0]["choices"] == list(LABELS)
    for line in lines[:7]:
        line["label"] = "positive"
    lines[0]["annotator"] = "Ann"
    found = label_files.load(project, environment, write(path, lines), "expert", "Bob")
    assert found == (7, 5)
    kept = labels(environment)
    assert {(one.label, one.origin, one.probability) for one in kept} == {("positive", "expert", 1.0)}
    assert {one.prediction_id for one in kept} == {line["id"] for line in lines[:7]}
    (said,) = feedback_of(environment.home / "traffic", lines[0]["id"]).newest
    assert said.feedback.annotator == pseudonym("Ann", SLUG, environment.subject_salt)
    assert sum(one.records for one in segments.all(ledger)) == 7
    assert label_files.export(project, environment, path) == 5


def test_a_bad_line_is_told_with_its_number_and_nothing_is_kept(
    project: Project, environment: Settings, tmp_path: Path
) -> None:
    ids = log(environment.home)
    good = {"id": ids[0], "label": "positive"}
    bad = [
        b"{", b"[]", b'"text"', b"\xff", b"NaN", {"id": ids[1]}, {"label": "positive"}, {"id": 5, "label": "positive"},
        {"id": ids[1], "label": 1}, {"id": ids[1], "label": "wonderful"}, {"id": "nothing", "label": "positive"},
        {"id": ids[1], "label": "positive", "pick": "forged"}, {"id": ids[0], "label": "negative"},
        {"id": ids[1], "label": "positive", "annotator": "x" * 201}, {"id": "\ud800", "label": "positive"},
    ]  # fmt: skip
    for line in bad:
        path = write(tmp_path / "bad.jsonl", [good, {"id": ids[2], "label": None}, b"", line, good])
        with pytest.raises(UnfitError, match=r"line 4") as caught:
            label_files.load(project, environment, path, "import", "Bob")
        assert "none of its labels was kept" in str(caught.value)
        assert str(caught.value).count("\n") == 1
    path = write(tmp_path / "bad.jsonl", [b'{"id": "' + b"x" * (1 << 20), *[b"{"] * 30, good])
    with pytest.raises(UnfitError, match=r"line 1 has more than .*\n(.*\n)*.*and 11 more"):
        label_files.load(project, environment, path, "import", "Bob")
    with pytest.raises(UnfitError, match="cannot be read"):
        label_files.load(project, environment, tmp_path / "gone.jsonl", "import", "Bob")
    assert labels(environment) == []


def test_experts_labels_need_the_pick(project: Project, environment: Settings, tmp_path: Path) -> None:
    ids = log(environment.home)
    path = write(tmp_path / "labels.jsonl", [{"id": ids[0], "label": "positive"}])
    with pytest.raises(UnfitError, match=r"line 1\.pick is missing"):
        label_files.load(project, environment, path, "expert", "Bob")
    assert label_files.load(project, environment, path, "import", "Bob") == (1, 0)
    assert [(one.origin, one.probability) for one in labels(environment)] == [("import", None)]


def test_the_command_line(project: Project, environment: Settings, tmp_path: Path) -> None:
    assert project.slug == SLUG
    ids = log(environment.home)
    call = CliRunner().invoke
    out = call(app, ["export", SLUG, str(tmp_path / "queue.jsonl"), "--json"], catch_exceptions=False)
    assert json.loads(out.stdout)["rows"] == 12
    path = write(
        tmp_path / "labels.jsonl", [b"\xef\xbb\xbf" + json.dumps({"id": ids[0], "label": "positive"}).encode()]
    )
    assert "1 labels kept" in call(app, ["import", SLUG, str(path)], catch_exceptions=False).stdout
    out = call(app, ["import", SLUG, str(path), "--json"], catch_exceptions=False)
    assert json.loads(out.stdout) == {"kept": 1, "unlabelled": 0}
    assert len(labels(environment)) == 1


def test_without_a_release_there_is_nothing_to_label(environment: Settings, ledger: Engine, tmp_path: Path) -> None:
    write_project(environment, small_project())
    assert ledger
    with pytest.raises(UnfitError, match="has no release yet"):
        label_files.export(load(find(SLUG, environment)), environment, tmp_path / "queue.jsonl")
    assert list(tmp_path.glob("*.jsonl")) == []


def test_what_is_labelled_while_a_draw_is_made_is_not_in_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(review, "_FRESH_S", 0.0)
    monkeypatch.setattr(review, "_REST", 0)
    real = review.drawn
    queue = Review(tmp_path, lambda _: RELEASE)
    for _ in range(2):  # the first draw, and one over another
        ids = log(tmp_path, 4)

        def draw(home: Path, project: str, release: Answering, ids: list[str] = ids) -> Draw:
            found = real(home, project, release)
            queue.labelled(project, {ids[0]})  # after it was read
            return found

        monkeypatch.setattr(review, "drawn", draw)
        shown = {row.id for row in queue.draw(SLUG)}
        assert ids[0] not in shown
        assert shown, "of those that say the same, any may stand for the others"
    assert queue._during == {}
