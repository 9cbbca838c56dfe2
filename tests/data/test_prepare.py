"""Preparation: what is written, that every row is accounted for, and what is refused."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune import files
from evertune.data import split as splitting
from evertune.data.prepare import prepare
from evertune.data.rows import label_order
from evertune.project import Project
from evertune.records import EvertuneError, RowCounts, UnfitError
from evertune.text import load_tokenizer, normalise, row_id

SPLITS = ("test", "validation", "train")


def row(text: str, target: str, group: str | None = None, **more: str) -> dict[str, Any]:
    """A valid row, as validation writes it."""
    name = row_id(normalise(text))
    told = {"row_id": name, "text": text, "label": target, "id": more.get("id"), "group": group or name}
    return {**told, "subject": "somebody", "time": None, "source": 0, "shop": more.get("shop", "a"), "target": [target]}


def write_valid(folder: Path, rows: list[dict[str, Any]], **summary: object) -> Path:
    """A sealed folder as validation leaves it."""
    account = {"drawn": len(rows) + 5, "unlabelled": 3, "quarantined": 2, "valid": len(rows), "fit": True}
    schema = pa.schema(
        [(name, pa.string()) for name in ("row_id", "text", "label", "id", "group", "subject", "time")]
        + [("source", pa.int32()), ("shop", pa.string()), ("target", pa.list_(pa.string()))]
    )
    with files.new_folder(folder) as aside:
        pq.write_table(pa.Table.from_pylist(rows, schema=schema), aside / "rows.parquet", row_group_size=64)
        files.write_json(aside / "summary.json", {**account, **summary})
    return folder


def some_rows(count: int = 400) -> list[dict[str, Any]]:
    rng = random.Random(1)
    labels = {"bad": "awful", "good": "lovely"}
    rows = []
    for number in range(count):
        label = rng.choice(sorted(labels))
        words = " ".join(f"the w{rng.randrange(900)} is" for _ in range(rng.randint(2, 9)))
        rows.append(row(f"{words} {labels[label]}", label, group=f"document {number // 4}", id=str(number)))
    return rows


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    return write_valid(tmp_path / "valid", some_rows())


@pytest.fixture
def dataset(local_project: Project, valid: Path, tiny_base: Path, tmp_path: Path) -> Path:
    prepare(local_project, valid, tiny_base, tmp_path / "dataset")
    return tmp_path / "dataset"


def read(dataset: Path, split: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(dataset / f"{split}.parquet").to_pylist()
    return rows


def test_every_row_drawn_is_accounted_for(dataset: Path) -> None:
    files.verify(dataset)
    summary = json.loads((dataset / "summary.json").read_text())
    counts = RowCounts.model_validate(summary)
    assert counts.drawn == 405
    assert counts.drawn == (
        counts.unlabelled + counts.quarantined + counts.deduplicated + counts.train + counts.validation + counts.test
    )
    assert {split: len(read(dataset, split)) for split in SPLITS} == {split: getattr(counts, split) for split in SPLITS}
    assert sum(summary["classes"]["train"].values()) == counts.train
    assert summary["max_tokens"] == 16
    assert summary["cut"] == sum(row["cut"] for split in SPLITS for row in read(dataset, split)) > 0


def test_rows_carry_their_class_and_their_side(dataset: Path, local_project: Project) -> None:
    labels = json.loads((dataset / "labels.json").read_text())
    assert labels == ["bad", "good"]
    for number, split in enumerate(SPLITS):
        rows = read(dataset, split)
        assert list(rows[0]) == [
            "row_id",
            "text",
            "label",
            "label_index",
            "id",
            "group",
            "time",
            "shop",
            "tokens",
            "cut",
        ]
        assert all(labels[row["label_index"]] == row["label"] for row in rows)
        assert {splitting.assign(row["group"], local_project.preparation.split) for row in rows} == {number}


def test_token_ids_are_mapped_and_stand_in_the_rows_order(dataset: Path, tiny_base: Path) -> None:
    tokenizer = load_tokenizer(tiny_base)
    for split in SPLITS:
        ids = np.load(dataset / f"{split}.ids.npy", mmap_mode="r")
        offsets = np.load(dataset / f"{split}.offsets.npy", mmap_mode="r")
        rows = read(dataset, split)
        assert isinstance(ids, np.memmap)
        assert (ids.dtype, offsets.dtype, len(offsets), offsets[-1]) == (np.int32, np.int64, len(rows) + 1, len(ids))
        assert np.diff(offsets).tolist() == [row["tokens"] for row in rows]
        for number in (0, len(rows) - 1):
            found = ids[offsets[number] : offsets[number + 1]].tolist()
            whole = tokenizer.encode(rows[number]["text"]).ids
            assert found == (whole if len(whole) <= 16 else [*whole[:15], whole[-1]])


def test_same_input_same_bytes(dataset: Path, local_project: Project, valid: Path, tiny_base: Path) -> None:
    again = dataset.with_name("again")
    prepare(local_project, valid, tiny_base, again)
    assert files.digest(again) == files.digest(dataset)


def test_which_rows_stay_does_not_depend_on_their_order(
    dataset: Path, local_project: Project, tiny_base: Path, tmp_path: Path
) -> None:
    rows = some_rows()
    copies = [{**row, "id": f"copy of {row['id']}", "group": "elsewhere"} for row in rows[:40]]
    outcomes = []
    for name, order in (("one", [*rows, *copies]), ("two", [*copies[::-1], *rows[::-1]])):
        prepare(local_project, write_valid(tmp_path / name, order), tiny_base, tmp_path / f"{name}.out")
        outcomes.append({(split, row["id"]) for split in SPLITS for row in read(tmp_path / f"{name}.out", split)})
    assert outcomes[0] == outcomes[1]
    assert len(outcomes[0]) == sum(len(read(dataset, split)) for split in SPLITS)


def test_copies_go_and_the_test_rows_copy_stays(local_project: Project, tiny_base: Path, tmp_path: Path) -> None:
    rows = some_rows()
    on_test = [r for r in rows if splitting.assign(r["group"], local_project.preparation.split) == 0]
    training = next(
        group for i in range(99) if splitting.assign(group := f"g{i}", local_project.preparation.split) == 2
    )
    exact = [{**r, "group": training} for r in on_test[:10]]
    near = [row(f"{r['text'].upper()}!!", r["target"][0], group=training) for r in on_test[10:20]]
    prepare(local_project, write_valid(tmp_path / "v", [*rows, *exact, *near]), tiny_base, tmp_path / "out")
    assert training not in {r["group"] for r in read(tmp_path / "out", "train")}
    kept = {r["row_id"] for r in read(tmp_path / "out", "test")}
    assert {r["row_id"] for r in on_test[:20]} <= kept
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert summary["exact_duplicates"] == 10
    assert summary["near_duplicates"]["train near test"] == 10
    assert summary["deduplicated"] == 20


def test_near_duplicates_stay_where_the_project_says_so(
    local_project: Project, tiny_base: Path, tmp_path: Path
) -> None:
    rows = some_rows()
    near = [row(f"{r['text']}!!", r["target"][0]) for r in rows[:30]]
    preparation = local_project.preparation.model_copy(update={"near_duplicates": None})
    project = local_project.model_copy(update={"preparation": preparation})
    prepare(project, write_valid(tmp_path / "v", [*rows, *near]), tiny_base, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "summary.json").read_text())["deduplicated"] == 0


def test_texts_are_normalised_again(local_project: Project, tiny_base: Path, tmp_path: Path) -> None:
    rows = [{**r, "text": f" {r['text'].replace(' ', chr(0xA0))}\u0007 "} for r in some_rows()]
    prepare(local_project, write_valid(tmp_path / "v", rows), tiny_base, tmp_path / "out")
    for found in read(tmp_path / "out", "train"):
        assert found["text"] == normalise(found["text"])
        assert "\xa0" not in found["text"]


def with_label(project: Project, **rule: object) -> Project:
    document = project.model_dump(mode="json")
    document["data"]["label"] = rule
    return Project.model_validate(document)


def test_labels_stand_in_the_rules_order(local_project: Project) -> None:
    assert label_order(local_project, {"b", "a"}) == ["a", "b"]
    assert label_order(with_label(local_project, classes=["z", "a"]), {"a", "z"}) == ["z", "a"]
    cuts = [{"label": "poor", "below": 1}, {"label": "fine", "at_least": 2}]
    assert label_order(with_label(local_project, cuts=cuts), {"fine"}) == ["poor", "fine"]
    with pytest.raises(UnfitError, match="does not name"):
        label_order(with_label(local_project, classes=["z", "a"]), {"q"})
    with pytest.raises(UnfitError, match="one class"):
        label_order(local_project, {"a"})


def test_unfit_rows_are_not_prepared(local_project: Project, tiny_base: Path, tmp_path: Path) -> None:
    valid = write_valid(tmp_path / "v", some_rows(), fit=False)
    with pytest.raises(UnfitError, match="did not pass validation"):
        prepare(local_project, valid, tiny_base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_torn_rows_are_not_prepared(local_project: Project, valid: Path, tiny_base: Path, tmp_path: Path) -> None:
    data = bytearray((valid / "rows.parquet").read_bytes())
    data[100] ^= 1
    (valid / "rows.parquet").write_bytes(data)
    with pytest.raises(files.CorruptError):
        prepare(local_project, valid, tiny_base, tmp_path / "out")


def test_a_summary_that_disagrees_is_refused(local_project: Project, tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(EvertuneError, match="its summary says 7"):
        prepare(local_project, write_valid(tmp_path / "v", some_rows(), valid=7), tiny_base, tmp_path / "out")


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "one class"),
        ([row(f"text {i} is one of many", "good") for i in range(99)], "one class"),
        ([row("the same text again", "good", group=f"g{i}") for i in range(99)]
         + [row("the other text", "bad", group=f"g{i}") for i in range(99)], "No "),
    ],
    ids=["no rows", "one class", "all duplicates"],
)  # fmt: skip
def test_rows_that_teach_nothing_are_refused(
    rows: list[dict[str, Any]], message: str, local_project: Project, tiny_base: Path, tmp_path: Path
) -> None:
    with pytest.raises(UnfitError, match=message):
        prepare(local_project, write_valid(tmp_path / "v", rows), tiny_base, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_more_than_one_class_a_row_is_refused(local_project: Project, tiny_base: Path, tmp_path: Path) -> None:
    rows = some_rows()
    rows[3]["target"] = ["good", "bad"]
    with pytest.raises(UnfitError, match="2 classes"):
        prepare(local_project, write_valid(tmp_path / "v", rows), tiny_base, tmp_path / "out")


def test_a_length_beyond_the_base_is_refused(local_project: Project, valid: Path, tiny_base: Path) -> None:
    project = local_project.model_copy(
        update={"preparation": local_project.preparation.model_copy(update={"max_tokens": 65})}
    )
    with pytest.raises(UnfitError, match="at most 64"):
        prepare(project, valid, tiny_base, valid.with_name("out"))


def test_the_positions_that_a_base_keeps_for_itself_are_no_room_for_tokens(
    local_project: Project, valid: Path, tiny_base: Path, tmp_path: Path
) -> None:
    base = Path(shutil.copytree(tiny_base, tmp_path / "roberta"))
    config = json.loads((base / "config.json").read_text()) | {"model_type": "roberta", "pad_token_id": 1}
    (base / "config.json").write_text(json.dumps(config))
    project = local_project.model_copy(
        update={"preparation": local_project.preparation.model_copy(update={"max_tokens": 63})}
    )
    with pytest.raises(UnfitError, match="at most 62"):
        prepare(project, valid, base, tmp_path / "out")
