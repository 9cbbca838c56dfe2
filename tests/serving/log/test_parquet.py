from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from tests.serving.log.made import answer, feedback, same

from evertune.serving.log import StoredAnswer, StoredFeedback, parquet
from evertune.serving.log.ids import Place

PLACES = [Place(1_790_000_000, 7, offset, 2**64 - offset) for offset in (80, 500, 3_000_000_000)]
ROWS = [
    StoredAnswer(place.encode(), place.segment, place.offset, answer(number)) for number, place in enumerate(PLACES)
]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "parquet" / "spam" / "2026-11-22" / "18" / parquet.name_of(7, parquet.ANSWERS)


def test_what_is_written_is_found_by_its_id(path: Path) -> None:
    parquet.write(path, parquet.ANSWERS, ROWS)
    for place, row in zip(PLACES, ROWS, strict=True):
        found = parquet.find(path, place, row.id)
        assert found is not None
        assert found[:3] == row[:3]
        assert same(found.answer, row.answer)
    other = PLACES[0]._replace(random=1)
    assert parquet.find(path, other, other.encode()) is None
    assert parquet.find(path, PLACES[0]._replace(offset=81), ROWS[0].id) is None


def test_it_is_found_among_many_groups_of_rows(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet, "ROW_GROUP", 1)
    parquet.write(path, parquet.ANSWERS, ROWS)
    assert pq.ParquetFile(path).num_row_groups == 3
    assert parquet.find(path, PLACES[1], ROWS[1].id) is not None


def test_the_columns_are_those_that_others_read(path: Path) -> None:
    parquet.write(path, parquet.ANSWERS, ROWS)
    row = pq.read_table(path, partitioning=None).to_pylist()[1]
    assert (row["label"], row["scores"], row["cut"], row["tokens"]) == ("a", [0.25, 0.75], False, 5)
    assert (row["project"], row["text"], row["segment"], row["offset"]) == ("spam", "text 1", 7, 500)
    assert row["answered"] == ROWS[1].answer.answered


def test_an_answer_without_embedding_or_with_other_outputs_is_kept(path: Path) -> None:
    odd = ROWS[0]._replace(answer=answer(embedding=None, output={"translation": "hola", "scores": [1]}))
    parquet.write(path, parquet.ANSWERS, [odd])
    found = parquet.find(path, PLACES[0], odd.id)
    assert found is not None
    assert same(found.answer, odd.answer)


def test_embeddings_are_a_matrix(path: Path) -> None:
    parquet.write(path, parquet.ANSWERS, ROWS)
    matrix = parquet.embeddings(pq.read_table(path, partitioning=None))
    assert matrix.dtype == np.float16
    assert matrix.tolist() == [list(row.answer.embedding) for row in ROWS if row.answer.embedding is not None]


def test_feedback_comes_back(tmp_path: Path) -> None:
    row = StoredFeedback("an id", 7, 80, feedback("another", comment=None))
    parquet.write(tmp_path / "one.parquet", parquet.FEEDBACK, [row])
    (found,) = pq.read_table(tmp_path / "one.parquet", partitioning=None).to_pylist()
    assert parquet.feedback_of(found) == row


def test_a_file_that_is_there_stays_as_it_is(path: Path) -> None:
    parquet.write(path, parquet.ANSWERS, ROWS)
    before = path.read_bytes()
    parquet.write(path, parquet.ANSWERS, ROWS[:1])
    assert path.read_bytes() == before


def test_bytes_are_on_the_disk_before_the_name_and_the_name_before_the_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[Path] = []
    real = os.fsync

    def fsync(descriptor: int) -> None:
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink())
        assert path.exists() == (len(synced) > 1)
        real(descriptor)

    monkeypatch.setattr("os.fsync", fsync)
    parquet.write(path, parquet.ANSWERS, ROWS)
    assert synced == [path.with_name(f".{path.name}.part"), *list(path.parents)[:4]]


def test_a_write_that_fails_leaves_nothing(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        parquet.write(path, parquet.ANSWERS, ROWS)
    assert list(path.parent.iterdir()) == []


def test_what_a_killed_write_left_aside_is_in_nobodys_way(path: Path) -> None:
    path.parent.mkdir(parents=True)
    path.with_name(f".{path.name}.part").write_bytes(b"half a fi")
    parquet.write(path, parquet.ANSWERS, ROWS)
    assert list(path.parent.iterdir()) == [path]


def test_files_of_the_version_before_are_read(path: Path) -> None:
    new = {"group", "origin", "annotator", "probability"}
    said = StoredFeedback("an id", 7, 80, feedback("another", truth=None))
    parquet.write(path, parquet.ANSWERS, ROWS)
    parquet.write(path.with_name("one"), parquet.FEEDBACK, [said])
    for one in (path, path.with_name("one")):
        table = pq.read_table(one, partitioning=None)
        pq.write_table(table.drop_columns([name for name in table.column_names if name in new]), one)
    assert parquet.feedback_of(pq.read_table(path.with_name("one"), partitioning=None).to_pylist()[0]) == said
    found = parquet.find(path, PLACES[1], ROWS[1].id)
    assert found is not None
    assert same(found.answer, ROWS[1].answer)
