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
from tests.loop.test_score import PROJECT, TEXTS, Served, served

from evertune.loop import score as scoring
from evertune.loop import score_json_lines, score_places, score_texts
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


@pytest.mark.usefixtures("served")
def test_other_fields_of_json_lines_come_back_as_they_stand_there(where: Settings, tmp_path: Path) -> None:
    lines = [
        '{"body": "a", "id": 123456789012345678901234567890, "day": "2024-05-01", "price": 1.10, "ok": true}',
        '\t{"body":"\\u00e9 \\"q\\"","id":"007","day":"2024-05-01T10:00:00Z","more":{"b": [1.50, "x"], "a":null} }',
        "",
        '{"price": -1e400, "day": null, "body": "b", "id": 7, "more": [], "ok": NaN}',
    ]
    (tmp_path / "in.jsonl").write_text("\ufeff" + "\r\n".join(lines), "utf-8")
    scoring.score(PROJECT, str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"), where)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found.column_names[:6] == ["body", "id", "day", "price", "ok", "more"]
    assert [list(row.values())[:6] for row in found.to_pylist()] == [
        ["a", "123456789012345678901234567890", "2024-05-01", "1.10", "true", None],
        ['é "q"', "007", "2024-05-01T10:00:00Z", None, None, '{"b": [1.50, "x"], "a":null}'],
        ["b", "7", None, "-1e400", None, "[]"],
    ]


@pytest.mark.usefixtures("served")
def test_a_field_that_comes_late_is_neither_lost_nor_refused(
    where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(score_texts, "_BLOCK", 64)
    rows = [{"body": f"text {number}"} for number in range(9)]
    rows[7]["late"], rows[8]["later"] = "x", "y"
    (tmp_path / "in.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    scoring.score(PROJECT, str(tmp_path / "in.jsonl"), str(tmp_path / "out.parquet"), where)
    found = pq.read_table(tmp_path / "out.parquet")
    assert found["body"].to_pylist() == [row["body"] for row in rows]
    assert (found["late"].to_pylist(), found["later"].to_pylist()) == ([None] * 7 + ["x", None], [None] * 8 + ["y"])


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("caf\u00e9".encode("latin-1").join([b'{"body": "', b'"}']), "is not UTF-8 .*0xe9.* Save the file as UTF-8"),
        (b'{"body": "a", "of": "\xff"}', "is not UTF-8 .*0xff"),
        (b'{"body": "a", "of": "\\ud800"}', "half of a surrogate pair"),
        (b'{"body": "a"', "is not JSON"),
        (b'{"body": "a"} {"body": "b"}', "is not JSON"),
        (b'{"body": "a",}', "is not JSON"),
        (b'{"body": tru}', "is not JSON"),
        (b'{"body": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "is not JSON"),
        (b'{"body" "a"}', "is not JSON"),
        (b'{7: "a"}', "is not JSON"),
        (b"{", "is not JSON"),
        (b'["body"]', "is no JSON object.*JSON object a line"),
        (b'{"body": "a", "body": "b"}', "'body' stands there twice"),
        (b'{"body": 7}', "'body' is no text"),
        (b'{"body": ["a", "b"]}', "'body' is no text"),
        (b'{"body": "' + b"a" * (4 << 20) + b'"}', "more than 4,194,304 bytes"),
    ],
)
def test_a_bad_line_is_told_with_its_number_before_anything_is_scored(
    served: Served, where: Settings, tmp_path: Path, line: bytes, told: str
) -> None:
    source = tmp_path / "in.jsonl"
    source.write_bytes(b'{"body": "good"}\n\n' + line + b'\n{"body": "good"}\n')
    with pytest.raises(UnfitError, match=told) as caught:
        scoring.score(PROJECT, str(source), str(tmp_path / "out.parquet"), where)
    assert f"{source} cannot be read as JSON Lines: line 3 " in str(caught.value)
    assert len(str(caught.value)) < 500
    assert not list((where.home / "scoring").rglob("plan.json"))
    assert served.asked == []


def test_one_that_grows_while_it_is_read_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.jsonl").write_bytes(b'{"body": "a"}\n')
    names = score_json_lines._names

    def grows(*given: Any) -> dict[str, None]:
        found = names(*given)
        (tmp_path / "in.jsonl").write_bytes(b'{"body": "a", "new": "b"}\n')
        return found

    monkeypatch.setattr(score_json_lines, "_names", grows)
    with (
        pytest.raises(EvertuneError, match="changed while it was read"),
        score_texts.opened(str(tmp_path / "in.jsonl"), tmp_path, "body"),
    ):
        pass


@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("in.csv", b"", "cannot be read as CSV"),
        ("in.jsonl", b"", "no rows"),
        ("in.jsonl", b"\n{}\n", "no rows"),
        ("in.jsonl", b'{"text": "a"}\n', "no column 'body'; it has: text"),
        ("in.csv", b"id,body\n1,a,b\n", "cannot be read as CSV"),
        ("in.csv", b"body\n\xff\xfe\n", "cannot be read as CSV: .*and in UTF-8"),
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
        monkeypatch.setattr(csv, "open_csv", self._remembering(csv.open_csv))

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
        ("in.jsonl", CONTENTS["in.jsonl"], 2),
        ("in.jsonl", CONTENTS["in.jsonl"] + b'{"id" 1}\n', 2),
    ],
)
def test_every_stream_is_closed_when_nobody_reads_it_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, content: bytes, streams: int
) -> None:
    (tmp_path / name).write_bytes(content)
    store = _Watched(monkeypatch)
    monkeypatch.setattr(score_places, "of", lambda source: score_places.Place(source, store, source))
    monkeypatch.setattr(score_texts, "_BLOCK", 128)
    with suppress(UnfitError), score_texts.opened(str(tmp_path / name), tmp_path, "body") as found:
        assert found.metadata.num_rows == len(ROWS)
    assert [stream.closed for stream in store.streams] == [True] * streams
    assert store.closed_under_readers == 0


def test_a_parquet_file_is_closed_too(tmp_path: Path) -> None:
    pq.write_table(pa.table({"body": ["a"]}), tmp_path / "in.parquet")
    with score_texts.opened(str(tmp_path / "in.parquet"), tmp_path, "body") as found:
        assert _is_open(tmp_path / "in.parquet")
    assert not _is_open(tmp_path / "in.parquet"), "though somebody holds it still"
    assert found.metadata.num_rows == 1


def _is_open(path: Path) -> bool:
    return any(entry.readlink() == path for entry in Path(f"/proc/{os.getpid()}/fd").iterdir() if entry.exists())
