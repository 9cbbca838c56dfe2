"""Sources of batch scoring that are no Parquet: the same rows, each cell as it stands in the file."""

from __future__ import annotations

import gzip
import io
import json
import os
import weakref
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow import csv
from pyarrow import json as json_lines
from tests.loop.test_score import PROJECT, TEXTS, Served, served

from evertune.loop import score as scoring
from evertune.loop import score_places, score_texts
from evertune.records import EvertuneError, UnfitError
from evertune.settings import Settings

assert served  # the fixture

ROWS = [(f"{number:03}", text or "") for number, text in enumerate(TEXTS)]
CSV = "id,body\n" + "".join(f'{id_},"{text}"\n' for id_, text in ROWS)
CONTENTS = {
    "in.csv": CSV.encode(),
    "in.CSV.gz": gzip.compress(CSV.encode()),
    "in.tsv": ("id\tbody\n" + "".join(f"{id_}\t{text}\n" for id_, text in ROWS)).encode(),
    "in.jsonl": "".join(json.dumps({"id": id_, "body": text}) + "\n" for id_, text in ROWS).encode(),
}


@pytest.mark.parametrize("name", CONTENTS)
def test_every_row_comes_back_with_its_answer(served: Served, where: Settings, tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_bytes(CONTENTS[name])
    done = scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["body"]) for row in rows] == ROWS
    assert [row["label"] for row in rows] == ["short", "short", None, "long", None, "short", "long", "short"]
    assert done.rows == len(ROWS)


@pytest.mark.parametrize("name", CONTENTS)
def test_no_name_leads_to_the_texts_at_any_moment_so_that_a_kill_leaves_none(
    served: Served, where: Settings, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    found: list[set[str]] = []

    def look(*_: object) -> None:
        there = [path for path in (where.home / "scoring").rglob("*") if path.is_file()]
        found.append({path.name for path in there})
        for part in there:
            assert part.suffix != ".parquet" or pq.read_schema(part).names == ["label", "scores", "cut"]

    copy = score_places._copy

    def copied(*given: Any) -> None:
        look()
        copy(*given)

    monkeypatch.setattr(score_places, "_copy", copied)
    (tmp_path / name).write_bytes(CONTENTS[name])
    scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where, report=look)
    parts = {f"{number:08}.parquet" for number in range(3)}
    assert found[-1] == {"lock", "plan.json", *parts}  # as the sink is written
    assert set.union(*found) == found[-1]


def test_what_was_cut_off_goes_on(served: Served, where: Settings, tmp_path: Path) -> None:
    (tmp_path / "in.csv").write_bytes(CONTENTS["in.csv"])
    source, sink = str(tmp_path / "in.csv"), str(tmp_path / "out.parquet")
    served.dies_at = "d"
    with pytest.raises(KeyboardInterrupt):
        scoring.score(PROJECT, source, sink, where)
    served.dies_at = None
    assert scoring.score(PROJECT, source, sink, where).kept == 6


def test_a_cell_may_have_lines_quotes_and_what_looks_like_nothing(
    served: Served, where: Settings, tmp_path: Path
) -> None:
    (tmp_path / "in.csv").write_text('id,body\n007,"two\nlines, and ""quotes"""\nNA,null\n', "utf-8")
    scoring.score(PROJECT, str(tmp_path / "in.csv"), str(tmp_path / "out.parquet"), where)
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["id"], row["body"]) for row in rows] == [("007", 'two\nlines, and "quotes"'), ("NA", "null")]


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("in.csv", b"", "cannot be read as CSV"),
        ("in.csv", b"id,body\n1,a,b\n", "cannot be read as CSV"),
        ("in.csv", b"body\n\xff\xfe\n", "cannot be read as CSV"),
        ("in.jsonl", b'{"body": 1}\n{"body"', "cannot be read as JSON Lines"),
        ("in.tsv", b"text\na\n", "no column 'body'; it has: text"),
    ],
)
@pytest.mark.usefixtures("served")
def test_what_is_not_what_its_name_says_is_told(
    where: Settings, tmp_path: Path, name: str, content: bytes, told: str
) -> None:  # fmt: skip
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnfitError, match=told):
        scoring.score(PROJECT, str(tmp_path / name), str(tmp_path / "out.parquet"), where)


def test_one_that_is_not_there_is_told(served: Served, where: Settings, tmp_path: Path) -> None:
    with pytest.raises(UnfitError, match="There is no file"):
        scoring.score(PROJECT, str(tmp_path / "none.csv"), str(tmp_path / "out.parquet"), where)


def test_a_packed_file_that_is_torn_is_told(served: Served, where: Settings, tmp_path: Path) -> None:
    (tmp_path / "in.csv.gz").write_bytes(CONTENTS["in.CSV.gz"][:40])
    with pytest.raises(EvertuneError, match=r"in\.csv\.gz cannot be read"):
        scoring.score(PROJECT, str(tmp_path / "in.csv.gz"), str(tmp_path / "out.parquet"), where)


class _Watched:
    """A store that keeps its streams, and says of each whether somebody read it still when it was closed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.streams: list[io.BytesIO] = []
        self.closed_under_readers = 0
        self._readers: list[weakref.ref[Any]] = []
        for of, name in ((csv, "open_csv"), (json_lines, "open_json")):
            monkeypatch.setattr(of, name, self._remembering(getattr(of, name)))

    def _remembering(self, opened: Any) -> Any:
        def opens(*arguments: Any) -> Any:
            reader = opened(*arguments)
            self._readers.append(weakref.ref(reader))
            return reader

        return opens

    def open_input_stream(self, path: str) -> pa.NativeFile:
        store = self

        class Stream(io.BytesIO):
            def close(self) -> None:
                store.closed_under_readers += any(reader() is not None for reader in store._readers)
                super().close()

        self.streams.append(Stream(Path(path).read_bytes()))
        return pa.PythonFile(self.streams[-1], "r")


@pytest.mark.parametrize(
    ("name", "content", "streams"),
    [
        ("in.csv", CONTENTS["in.csv"], 2),
        ("in.csv", CONTENTS["in.csv"] + b"1,2,3\n", 2),
        ("in.jsonl", CONTENTS["in.jsonl"], 1),
        ("in.jsonl", CONTENTS["in.jsonl"] + b'{"id" 1}\n', 1),
    ],
)
def test_every_stream_is_closed_when_nobody_reads_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, streams: int
) -> None:
    (tmp_path / name).write_bytes(content)
    store = _Watched(monkeypatch)
    monkeypatch.setattr(score_places, "of", lambda source: score_places.Place(source, store, source))
    monkeypatch.setattr(score_texts, "_BLOCK", 64)
    with suppress(UnfitError), score_texts.opened(str(tmp_path / name), tmp_path) as found:
        assert found.metadata.num_rows == len(ROWS)
    assert [stream.closed for stream in store.streams] == [True] * streams
    assert store.closed_under_readers == 0


def test_a_parquet_file_is_closed_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "in.parquet")
    with score_texts.opened(str(tmp_path / "in.parquet"), tmp_path) as found:
        assert _is_open(tmp_path / "in.parquet")
    assert not _is_open(tmp_path / "in.parquet"), "though somebody holds it still"
    assert found.metadata.num_rows == 1


def _is_open(path: Path) -> bool:
    return any(entry.readlink() == path for entry in Path(f"/proc/{os.getpid()}/fd").iterdir() if entry.exists())
