"""Labelled traffic from the snapshot into the dataset: what it must never change, and what must never meet."""

from __future__ import annotations

import itertools
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.data.conftest import reviews

from evertune import files
from evertune.data import labelled, recent
from evertune.data import split as splitting
from evertune.data.cells import CellCleaner
from evertune.data.labelled import LabelledRow
from evertune.data.plans import plan, plan_hash
from evertune.data.prepare import prepare
from evertune.data.shingles import VIEWS, near
from evertune.data.snapshot import draw
from evertune.data.sources import fingerprint
from evertune.project import Project
from evertune.records import Pins, RowCounts, Step
from evertune.settings import Settings, load
from evertune.text import Redactor

NOW = datetime(2026, 11, 20, tzinfo=UTC)
SPLITS = ("train", "validation", "test")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_SUBJECT_SALT": "pepper"})


class Made:
    """Datasets of one project with and without traffic, made without Great Expectations."""

    def __init__(self, project: Project, settings: Settings, base: Path, folder: Path) -> None:
        self.project, self.settings, self.base, self.folder = project, settings, base, folder
        self.cleaner = CellCleaner(project, Redactor((), {}), settings.subject_salt)
        self.numbers = itertools.count()

    def answer(self, text: str, label: str, document: str | None = None, **more: Any) -> LabelledRow:
        """An answer with its label; ``document`` is the group as a client names it."""
        number = next(self.numbers)
        group = self.cleaner.hashed(document) if document else None
        row = LabelledRow(f"p{number:05}", text, label, group, "import", None, True, 1, NOW + timedelta(minutes=number))
        return row._replace(**more)

    def pins(self, traffic: list[LabelledRow]) -> Pins:
        mark = labelled.write(traffic, self.settings, self.project.slug) if traffic else None
        sources = {source.uri: fingerprint(source, self.settings) for source in self.project.data.sources}
        return Pins(sources=sources, base="b", recipes={}, label_watermark=mark)

    def snapshot(self, traffic: list[LabelledRow]) -> Path:
        out = self.folder / "snapshot"
        draw(self.project, self.pins(traffic), out, self.settings)
        return out

    def __call__(self, traffic: list[LabelledRow], **retraining: Any) -> Path:
        snapshot = self.snapshot(traffic)
        valid, out = self.folder / "valid", self.folder / f"dataset{next(self.numbers)}"
        options = self.project.retraining.model_copy(update=retraining)
        with files.new_folder(valid) as aside:
            summary: dict[str, Any] = {"drawn": 0, "unlabelled": 0, "quarantined": 0}
            summary["valid"] = summary["drawn"] = _valid(snapshot, aside, "rows.parquet")
            if traffic:
                count = _valid(snapshot, aside, "traffic.parquet")
                summary["traffic"] = {"drawn": count, "quarantined": 0}
            files.write_json(aside / "summary.json", summary)
        prepare(self.project.model_copy(update={"retraining": options}), valid, self.base, out)
        shutil.rmtree(valid)
        return out


def _valid(snapshot: Path, folder: Path, name: str) -> int:
    table = pq.read_table(snapshot / name).drop_columns(["fault"])
    targets = pa.array([[label] for label in table["label"].to_pylist()], pa.list_(pa.string()))
    pq.write_table(table.append_column("target", targets), folder / name)
    return len(table)


@pytest.fixture
def made(local_project: Project, settings: Settings, tiny_base: Path, tmp_path: Path) -> Made:
    return Made(local_project, settings, tiny_base, tmp_path)


def traffic_of(made: Made, count: int = 300) -> list[LabelledRow]:
    """Traffic that knows half of the sources' documents, and repeats some of their texts nearly and exactly."""
    rows = [
        made.answer(one["body"].replace("the ", "this "), one["stars"], f"{number // 2}")
        for number, one in enumerate(reviews(count, seed=8))
    ]
    again = reviews(300)
    rows += [made.answer(one["body"], one["stars"], f"copy {one['id']}") for one in again[:60]]
    rows += [made.answer(f"{one['body']} !", one["stars"], f"near {one['id']}") for one in again[60:120]]
    rows += [made.answer(f"alone {number} {one['body']}", one["stars"]) for number, one in enumerate(again[:40])]
    return rows


def read(dataset: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(dataset / f"{split}.parquet").to_pylist()
    return rows


def test_without_labels_all_is_as_it_was(made: Made) -> None:
    snapshot, dataset = made.snapshot([]), made([])
    assert {path.name for path in snapshot.iterdir()} == {"rows.parquet", "summary.json", files.MANIFEST}
    named = {f"{split}.{ending}" for split in SPLITS for ending in ("parquet", "ids.npy", "offsets.npy")}
    assert {path.name for path in dataset.iterdir()} == named | {"labels.json", "summary.json", files.MANIFEST}
    assert set(files.read_json(dataset / "summary.json")) == {
        "drawn", "unlabelled", "quarantined", "deduplicated", "train", "validation", "test", "exact_duplicates",
        "near_duplicates", "cut", "max_tokens", "tokens", "classes", "warnings",
    }  # fmt: skip
    assert set(files.read_json(snapshot / "summary.json")) == {"drawn", "redacted", "sources"}


def test_without_labels_the_plans_are_what_they_were(made: Made) -> None:
    pins, project = made.pins([]), made.project
    parts = {
        step: set(plan(step, project, pins, made.settings)) for step in (Step.SNAPSHOT, Step.VALIDATE, Step.PREPARE)
    }
    assert parts == {
        Step.SNAPSHOT: {"step", "recipe", "sources", "columns", "redaction", "subjects"},
        Step.VALIDATE: {"step", "recipe", "columns", "label", "validation"},
        Step.PREPARE: {"step", "recipe", "label", "preparation", "base"},
    }
    other = project.model_copy(update={"retraining": project.retraining.model_copy(update={"judged_share": 0.5})})
    for step in parts:
        assert plan(step, project, pins, made.settings) == plan(step, other, pins, made.settings)


def test_labels_are_part_of_the_plan(made: Made) -> None:
    traffic = traffic_of(made, 30)
    without, some, more = (made.pins(rows) for rows in ([], traffic[:20], traffic))
    assert len({plan_hash(made.project, pins) for pins in (without, some, more)}) == 3
    plans = [plan(Step.SNAPSHOT, made.project, pins, made.settings) for pins in (without, some, more)]
    assert plans[0] != plans[1] != plans[2]
    other = made.project.model_copy(update={"retraining": made.project.retraining.model_copy(update={"days": 9})})
    assert plan(Step.PREPARE, made.project, some, made.settings) == plan(Step.PREPARE, other, some, made.settings)


def test_the_frozen_test_rows_are_the_same_bytes(made: Made) -> None:
    without, with_traffic = made([]), made(traffic_of(made))
    for name in ("test.parquet", "test.ids.npy", "test.offsets.npy", "labels.json"):
        assert (without / name).read_bytes() == (with_traffic / name).read_bytes(), name
    assert pq.read_schema(without / "train.parquet") == pq.read_schema(with_traffic / "train.parquet")


def test_a_label_out_of_the_traffic_contradicts_no_test_row(made: Made) -> None:
    """Whoever sends feedback must not be able to take a row out of the test set."""
    without = made([])
    other = {"good": "bad", "bad": "good"}
    against = [made.answer(row["text"], other[row["label"]], "x") for row in read(without, "test")]
    assert (made(against) / "test.parquet").read_bytes() == (without / "test.parquet").read_bytes()


def test_nothing_is_trained_on_and_judged_on(made: Made) -> None:
    dataset = made(traffic_of(made), traffic_share=0.9)
    learnt = [*read(dataset, "train"), *read(dataset, "validation")]
    judged = [*read(dataset, "test"), *read(dataset, "recent")]
    assert len(read(dataset, "recent")) > 30
    assert len([row for row in learnt if row["id"].startswith("p")]) > 30
    for name in ("row_id", "group", "id"):
        assert not {row[name] for row in learnt} & {row[name] for row in judged}, name
    shingles = {row["text"]: tuple(view(row["text"]) for view in VIEWS) for row in (*learnt, *judged)}
    threshold = made.project.preparation.near_duplicates
    assert threshold is not None
    for row in judged:
        for other in learnt:
            assert not near(shingles[row["text"]], shingles[other["text"]], threshold), (row, other)


def test_a_document_of_the_sources_keeps_its_side_in_the_traffic(made: Made) -> None:
    split = made.project.preparation.split
    dataset = made(traffic_of(made), traffic_share=1.0)
    side = {group: splitting.assign(group, split) for group in map(str, range(100))}
    for row in read(dataset, "recent"):
        assert side.get(row["group"], 0) == 0, row
    trained = {row["group"] for row in read(dataset, "train") if row["id"].startswith("p")}
    assert {side[group] for group in trained & set(side)} == {2}
    assert trained - set(side)  # documents that only the traffic has


def test_every_labelled_row_is_accounted_for(made: Made) -> None:
    traffic = traffic_of(made)
    dataset = made(traffic, traffic_share=0.2)
    counts = RowCounts.model_validate(files.read_json(dataset / "summary.json"))
    found = counts.traffic
    assert found is not None
    assert found.labelled == len(traffic) == sum(found.model_dump(exclude={"labelled"}).values())
    rows = {split: read(dataset, split) for split in (*SPLITS, "recent")}
    assert len(rows["recent"]) == found.recent
    assert len(rows["train"]) == counts.train + found.train
    assert found.train == int(counts.train / 4) > 0
    assert counts.drawn == counts.deduplicated + counts.train + counts.validation + counts.test
    assert found.left_out > 0


def test_of_too_much_traffic_the_newest_is_trained_on(made: Made) -> None:
    traffic = [made.answer(f"number{n} says that word{n} beats other{n}", "good", f"d{n}") for n in range(400)]
    dataset = made(traffic, traffic_share=0.3)
    taken = sorted(row["id"] for row in read(dataset, "train") if row["id"].startswith("p"))
    every = sorted(row["id"] for row in read(made(traffic, traffic_share=1.0), "train") if row["id"].startswith("p"))
    assert 0 < len(taken) < len(every)
    assert taken == every[-len(taken) :]


def test_without_a_share_nothing_is_trained_on_but_judged_on(made: Made) -> None:
    dataset = made(traffic_of(made), traffic_share=0.0)
    assert not any(row["id"].startswith("p") for split in SPLITS for row in read(dataset, split))
    assert read(dataset, "recent")


def test_judged_rows_have_weights_and_where_they_come_from(made: Made) -> None:
    chances = itertools.cycle([0.5, 0.1, None])
    traffic = [row._replace(probability=next(chances), origin="expert") for row in traffic_of(made)]
    rows = read(made(traffic), "recent")
    assert list(rows[0])[-3:] == ["origin", "probability", "weight"]
    assert {row["origin"] for row in rows} == {"expert"}
    heavy = {row["probability"]: row["weight"] for row in rows}
    assert heavy[0.1] == pytest.approx(5 * heavy[0.5])
    assert sum(row["weight"] for row in rows) == pytest.approx(len(rows))


def test_complaints_alone_are_never_judged_on(made: Made) -> None:
    traffic = [row._replace(judged=False) for row in traffic_of(made)]
    dataset = made(traffic, traffic_share=0.9)
    assert read(dataset, "recent") == []
    judged = {row["id"] for row in read(made([row._replace(judged=True) for row in traffic]), "recent")}
    assert judged
    assert not judged & {row["id"] for row in read(dataset, "train")}


def test_the_same_labels_give_the_same_bytes(made: Made) -> None:
    traffic = traffic_of(made)
    assert files.digest(made(traffic)) == files.digest(made(traffic[::-1]))


def test_traffic_is_redacted_again(made: Made) -> None:
    snapshot = made.snapshot([made.answer("write to ann@example.org", "good", "d")])
    (row,) = pq.read_table(snapshot / "traffic.parquet").to_pylist()
    assert row["text"] == "write to <email>"
    assert (row["id"], row["time"], row["source"], row["shop"]) == ("p00000", "2026-11-20T00:00:00+00:00", 1, None)
    assert set(recent.COLUMNS) <= set(row)


def test_groups_that_the_sources_store_as_hashes_are_known_too(made: Made) -> None:
    path = Path(made.project.data.sources[0].uri)
    path.write_text("id,body,stars,shop\nann@example.org,one text,good,s\nplain,two texts,bad,s\n")
    answers = [made.answer(f"text {name}", "good", name) for name in ("ann@example.org", "plain", "elsewhere")]
    snapshot = made.snapshot(answers)
    stored = {row["id"]: row["group"] for row in pq.read_table(snapshot / "rows.parquet").to_pylist()}
    groups = [row["group"] for row in pq.read_table(snapshot / "traffic.parquet").to_pylist()]
    assert groups[:2] == [stored[made.cleaner.hashed("ann@example.org")], "plain"]
    assert groups[2] == made.cleaner.hashed("elsewhere")


@pytest.mark.parametrize("change", ["", " !"], ids=["copy", "near copy"])
def test_what_is_judged_on_drives_out_what_is_trained_on(made: Made, change: str) -> None:
    """The judged rows stand for the traffic: to drop those that are like training rows would leave the odd ones."""
    without = made([])
    split = made.project.preparation.split
    learnt = [row for row in read(without, "train") if len(row["text"].split()) > 8][:40]
    judged = [
        name for name in map(str, range(900, 1200)) if splitting.position(made.cleaner.hashed(name), split.salt) < 0.3
    ]
    traffic = [
        made.answer(row["text"] + change, row["label"], document) for row, document in zip(learnt, judged, strict=False)
    ]
    dataset = made(traffic)
    assert {row["id"] for row in read(dataset, "recent")} == {row.prediction_id for row in traffic}
    gone = {row["id"] for row in learnt}
    assert not gone & {row["id"] for row in read(dataset, "train")}
    assert len(read(dataset, "train")) == len(read(without, "train")) - len(gone)


def test_what_is_for_nothing_meets_nothing(made: Made) -> None:
    dataset = made([row._replace(judged=False) for row in traffic_of(made)])
    met = files.read_json(dataset / "summary.json")["near_duplicates"]
    assert met
    assert not any("left out" in pair for pair in met)


def test_columns_of_the_project_are_not_taken_for_those_of_traffic(made: Made) -> None:
    path = Path(made.project.data.sources[0].uri)
    content = path.read_text().replace("id,body,stars,shop", "id,body,stars,weight")
    path.write_text(content)
    document = made.project.model_dump(mode="json")
    document["data"]["columns"]["keep"] = ["weight"]
    document["data"]["sources"][0]["constants"] = {"probability": "high", "judged": "no"}
    made.project = Project.model_validate(document)
    dataset = made(traffic_of(made))
    row = read(dataset, "recent")[0]
    assert row["weight"] == 1.0
    assert not {"judged", "shop"} & set(row)
    assert {row["probability"] for row in read(dataset, "test")} == {"high"}


def test_a_text_of_the_sources_is_of_its_document_although_nobody_says_so(made: Made) -> None:
    """Else it might be judged on while the rest of its document is trained on."""
    without = made([])
    copies = [made.answer(row["text"], row["label"]) for split in SPLITS for row in read(without, split)]
    dataset = made(copies)
    assert read(dataset, "recent") == []
    for split in SPLITS:
        assert read(dataset, split) == read(without, split)
