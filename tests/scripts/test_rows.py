"""The demo's traffic is cut by document, before anything is trained: none of it is in a data set of the project."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from scripts.demo.drift import Loop
from scripts.demo.rows import Sentence, draw

from evertune.data import snapshot
from evertune.data.split import assign
from evertune.data.validation import labels
from evertune.project import Project
from evertune.records import Pins
from evertune.settings import Settings
from evertune.text import row_id


def groups(sentences: list[Sentence]) -> set[str]:
    return {one.group for one in sentences}


def texts(sentences: list[Sentence]) -> set[str]:
    return {row_id(one.text) for one in sentences}


def drawn(project: Project, settings: Settings, to: Path) -> pa.Table:
    """What the project's own snapshot has."""
    pins = Pins(sources={one.uri: str(one.sha256) for one in project.data.sources}, base="b", recipes={})
    snapshot.draw(project, pins, to, settings)
    return pq.read_table(to / "rows.parquet", columns=["row_id", "id", "source", "group", "label"])


def with_a_clear_label(project: Project, table: pa.Table) -> list[dict[str, Any]]:
    """Those that validation lets into the data set."""
    codes = labels.apply(project.data.label, table["label"].combine_chunks()).codes.tolist()
    return [row for row, code in zip(table.to_pylist(), codes, strict=True) if code != labels.NONE]


def test_what_is_sent_is_in_no_data_set_and_no_document_is_on_two_sides(loop: Loop, tmp_path: Path) -> None:
    project, traffic = loop.project, loop.traffic
    table = drawn(project, loop.settings, tmp_path / "snapshot")
    rows = table.to_pylist()
    names = [one.uri.rsplit("/", 1)[-1] for one in project.data.sources]
    documents = {f"{names[row['source']]} {row['id'].split('_')[0]}" for row in rows}
    sent = [*traffic.reviews, *traffic.editorials_before, *traffic.editorials_after]

    assert documents & groups(sent) == set()
    assert {row["row_id"] for row in rows} & texts(sent) == set()
    assert groups(traffic.editorials_before) & groups(traffic.editorials_after) == set()
    assert texts(traffic.editorials_before) & texts(traffic.editorials_after) == set()

    clear = {row["row_id"]: row["group"] for row in with_a_clear_label(project, table)}
    test = sum(assign(group, project.preparation.split) == 0 for group in clear.values())
    assert test >= 1_500
    assert len(traffic.editorials_before) + len(traffic.editorials_after) == 2_970
    assert len(groups(traffic.editorials_before)) + len(groups(traffic.editorials_after)) == 497


def test_a_sentence_of_two_reviews_is_not_sent_where_one_of_them_is_learned_from(loop: Loop, tmp_path: Path) -> None:
    """Three sentences are that; with these numbers of rows nearly all that is left is sent, and with it those three."""
    pairs = zip(loop.project.data.sources, (2000, 6000), strict=True)
    sources = tuple(source.model_copy(update={"rows": rows}) for source, rows in pairs)
    project = loop.project.model_copy(update={"data": loop.project.data.model_copy(update={"sources": sources})})
    rows = with_a_clear_label(project, drawn(project, loop.settings, tmp_path / "snapshot"))
    sent = texts(draw(project, loop.settings).reviews)
    assert len(sent) > 5_000
    assert sent & {row["row_id"] for row in rows} == set()
