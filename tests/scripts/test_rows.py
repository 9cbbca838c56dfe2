"""The demo's traffic is cut by document, before anything is trained: none of it is in a data set of the project."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
from scripts.demo.drift import Loop
from scripts.demo.rows import Sentence

from evertune.data import snapshot
from evertune.data.split import assign
from evertune.data.validation import labels
from evertune.records import Pins
from evertune.text import row_id


def groups(sentences: list[Sentence]) -> set[str]:
    return {one.group for one in sentences}


def texts(sentences: list[Sentence]) -> set[str]:
    return {row_id(one.text) for one in sentences}


def test_what_is_sent_is_in_no_data_set_and_no_document_is_on_two_sides(loop: Loop, tmp_path: Path) -> None:
    project, traffic = loop.project, loop.traffic
    pins = Pins(sources={one.uri: str(one.sha256) for one in project.data.sources}, base="b", recipes={})
    snapshot.draw(project, pins, tmp_path / "snapshot", loop.settings)
    table = pq.read_table(tmp_path / "snapshot" / "rows.parquet", columns=["row_id", "id", "source", "group", "label"])
    rows = table.to_pylist()
    names = [one.uri.rsplit("/", 1)[-1] for one in project.data.sources]
    documents = {f"{names[row['source']]} {row['id'].split('_')[0]}" for row in rows}
    sent = [*traffic.reviews, *traffic.editorials_before, *traffic.editorials_after]

    assert documents & groups(sent) == set()
    assert {row["row_id"] for row in rows} & texts(sent) == set()
    assert groups(traffic.editorials_before) & groups(traffic.editorials_after) == set()
    assert texts(traffic.editorials_before) & texts(traffic.editorials_after) == set()

    codes = labels.apply(project.data.label, table["label"].combine_chunks()).codes.tolist()
    clear = {row["row_id"]: row["group"] for row, code in zip(rows, codes, strict=True) if code != labels.NONE}
    test = sum(assign(group, project.preparation.split) == 0 for group in clear.values())
    assert test >= 1_500
    assert len(traffic.editorials_before) + len(traffic.editorials_after) == 2_970
    assert len(groups(traffic.editorials_before)) + len(groups(traffic.editorials_after)) == 497
