import contextlib
import gzip
import hashlib
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import parquet

from evertune.data.sources import Row, fingerprint, open_rows, rows
from evertune.project.options import Source
from evertune.records import EvertuneError, UnfitError
from evertune.settings import Settings, load

WANTED = ("text", "label")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load({"EVERTUNE_HOME": str(tmp_path / "home")})


class Reader:
    """Writes bytes to a file and reads its rows."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        self.folder = folder
        self.settings = settings

    def __call__(self, name: str, data: bytes, wanted: Sequence[str] = WANTED, **options: Any) -> list[Row]:
        path = self.folder / name
        path.write_bytes(data)
        source = Source(uri=str(path), **options)
        with open_rows(source, hashlib.sha256(data).hexdigest(), wanted, self.settings) as found:
            return list(found)


@pytest.fixture
def read(tmp_path: Path, settings: Settings) -> Reader:
    return Reader(tmp_path, settings)


def cells(found: list[Row]) -> list[list[str | None]]:
    assert [row.fault for row in found] == [None] * len(found)
    return [list(row.cells) for row in found]


def test_csv_with_quotes_and_cells_over_several_lines(read: Reader) -> None:
    data = b'label,text\r\na,"x, ""y""\r\nz"\r\nb,plain\r\n'
    assert cells(read("x.csv", data)) == [['x, "y"\r\nz', "a"], ["plain", "b"]]


def test_tsv_whose_quotation_marks_are_characters(read: Reader) -> None:
    data = b'id\tlabel\ttext\r\n1\t0.5\t"  this problem\r\n2\t-1\t9" black and "white"\r\n'
    assert cells(read("x.tsv", data, quoting="none")) == [['"  this problem', "0.5"], ['9" black and "white"', "-1"]]


def test_rows_that_a_stray_quotation_mark_would_hold_together_come_apart(read: Reader) -> None:
    # As in the review snippets: one row opens a mark that the next closes. Read without `quoting: none`.
    data = b'id\tlabel\ttext\n1\t0\t" no disc.\n2\t1\t"  this is the second\n3\t1\tfine\n'
    found = read("x.tsv", data)
    assert [row.fault for row in found] == [rows.OPEN_QUOTE, rows.OPEN_QUOTE, None]
    assert found[2].cells == ["fine", "1"]


def test_a_mark_that_never_closes_costs_its_row_and_no_other(read: Reader) -> None:
    data = b"text,label\ngood,a\n" + b'"never closed,b\n' + b"fine,c\n" * 3
    found = read("x.csv", data)
    assert [row.fault for row in found] == [None, rows.OPEN_QUOTE, None, None, None]
    assert found[1].cells == ['"never closed,b', None]


def test_a_file_read_as_it_is_in_the_wild(read: Reader) -> None:
    data = b'\xef\xbb\xbf text ,label\n\n5" disk,a\nlone\rreturn,b\n"lone\rquoted",c\n\n'
    assert cells(read("x.csv", data)) == [['5" disk', "a"], ["lone\rreturn", "b"], ["lone quoted", "c"]]
    assert cells(read("mac.csv", b"text,label\ra,b\rc,d\r")) == [["a", "b"], ["c", "d"]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"caf\xe9,a", rows.INVALID_BYTES),
        (b'"caf\xe9 \xff",a', rows.INVALID_BYTES),
        (b"text,\xff", rows.INVALID_BYTES),
        (b"nul\0,a", rows.NUL),
        (b"only", rows.TOO_FEW),
        (b"a,b,c", rows.TOO_MANY),
        (b'"a",b,c', rows.TOO_MANY),
    ],
)
def test_one_bad_row_costs_one_row(read: Reader, line: bytes, fault: str) -> None:
    found = read("x.csv", b"text,label\nbefore,a\n" + line + b"\nafter,b\n")
    assert [row.fault for row in found] == [None, fault, None]
    assert [list(found[0].cells), list(found[2].cells)] == [["before", "a"], ["after", "b"]]


def test_other_encodings(read: Reader) -> None:
    assert cells(read("l.csv", "text,label\ncafé,a\n".encode("cp1252"), encoding="cp1252")) == [["café", "a"]]
    assert cells(read("w.csv", "text,label\ncafé,a\n".encode("utf-16"), encoding="utf-16")) == [["café", "a"]]
    assert read("m.csv", b"text,label\n\x81,a\nb,c\n", encoding="cp1252")[0].fault == rows.INVALID_BYTES


def test_a_cell_of_a_megabyte_and_more(read: Reader) -> None:
    big = b"x" * 3_000_000
    assert [len(row.cells[0] or "") for row in read("x.csv", b"text,label\n" + big + b",a\n")] == [3_000_000]
    assert [len(row.cells[0] or "") for row in read("q.csv", b'text,label\n"' + big + b'",a\n')] == [3_000_000]


def test_a_header_of_the_projects_own(read: Reader) -> None:
    data = b"Go.\tVe.\tCC-BY\nHi.\tHola.\tCC-BY\n"
    assert cells(read("x.tsv", data, ("es", "en"), header=("en", "es", "from"))) == [["Ve.", "Go."], ["Hola.", "Hi."]]


def test_an_unnamed_column_is_no_hindrance(read: Reader) -> None:
    assert cells(read("trec.csv", b",label,text\n0,1,How ?\n")) == [["How ?", "1"]]


@given(table=st.lists(st.tuples(st.text(max_size=12), st.text(max_size=12)), max_size=6))
def test_what_the_csv_module_writes_is_read_back(tmp_path_factory: pytest.TempPathFactory, table: list[Any]) -> None:
    import csv

    table = [tuple(cell.replace("\0", "").replace("\r", " ") for cell in row) for row in table]
    table = [row for row in table if any(row)]
    out = io.StringIO(newline="")
    csv.writer(out, quoting=csv.QUOTE_ALL).writerows([("text", "label"), *table])
    folder = tmp_path_factory.mktemp("written")
    found = Reader(folder, load({"EVERTUNE_HOME": str(folder)}))("x.csv", out.getvalue().encode())
    assert cells(found) == [list(row) for row in table]


@given(st.binary(max_size=200))
def test_no_bytes_whatever_break_the_reader(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    folder = tmp_path_factory.mktemp("any")
    reader = Reader(folder, load({"EVERTUNE_HOME": str(folder)}))
    for name in ("x.csv", "x.tsv", "x.jsonl", "x.parquet", "x.csv.gz", "x.csv.zst"):
        with contextlib.suppress(UnfitError):
            reader(name, b"text,label\n" + data if name == "x.csv" else data)


def jsonl(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def test_json_lines(read: Reader) -> None:
    data = jsonl({"text": "a", "label": 3, "more": [1]}, {"label": None, "text": "é\n"}, {"text": "b", "label": True})
    assert cells(read("x.jsonl", data)) == [["a", "3"], ["é\n", None], ["b", "true"]]


@pytest.mark.parametrize(
    ("line", "fault"),
    [
        (b"{broken", rows.NOT_JSON),
        (b"[1]", rows.NOT_AN_OBJECT),
        (b'"text"', rows.NOT_AN_OBJECT),
        (b'{"text": ["a"], "label": "x"}', rows.NOT_TEXT),
        (b'{"text": 5, "label": "x"}', rows.NOT_TEXT),
        (b'{"text": "\xff", "label": "x"}', rows.INVALID_BYTES),
        (b'{"text": "\\ud800", "label": "x"}', rows.INVALID_BYTES),
        (b'{"text": "a\\u0000", "label": "x"}', rows.NUL),
        (b'{"text": "a\0", "label": "x"}', rows.NUL),
        (b"[" * 100_000, rows.NOT_JSON),
        (b'{"text": "a", "label": ' + b"9" * 5000 + b"}", rows.NOT_JSON),
    ],
)
def test_one_bad_line_costs_one_line(read: Reader, line: bytes, fault: str) -> None:
    good = jsonl({"text": "good", "label": "a"})
    assert [row.fault for row in read("x.jsonl", good + line + b"\n\n" + good)] == [None, fault, None]


def as_parquet(table: dict[str, Any]) -> bytes:
    out = io.BytesIO()
    parquet.write_table(pa.table(table), out)
    return out.getvalue()


def test_parquet_with_typed_columns(read: Reader) -> None:
    data = as_parquet({"label": [1, None], "score": [0.5, 1.0], "text": pa.array(["a", None]).dictionary_encode()})
    assert cells(read("x.parquet", data, ("text", "label", "score"))) == [["a", "1", "0.5"], [None, None, "1.0"]]


def test_parquet_with_a_string_that_is_no_utf8(read: Reader) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff!"]).buffers())
    found = read("x.parquet", as_parquet({"text": bad, "label": ["a", "b"]}))
    assert [row.fault for row in found] == [None, rows.INVALID_BYTES]


@pytest.mark.parametrize("plain", ["x.csv", "x.jsonl", "x.parquet"])
def test_compressed_files_read_like_plain_ones(read: Reader, plain: str) -> None:
    data = {
        "x.csv": b"text,label\na,b\n",
        "x.jsonl": jsonl({"text": "a", "label": "b"}),
        "x.parquet": as_parquet({"text": ["a"], "label": ["b"]}),
    }[plain]
    assert cells(read(plain + ".gz", gzip.compress(data))) == [["a", "b"]]
    frames = zstandard.ZstdCompressor()
    assert cells(read(plain + ".zst", frames.compress(data[:5]) + frames.compress(data[5:]))) == [["a", "b"]]


UNFIT = {
    "empty.csv": (b"", "is empty"),
    "empty.jsonl": (b"", "is empty"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "nothing.csv.gz": (b"", "is empty|not a whole gzip"),
    "plain.csv.gz": (b"text,label\na,b\n", "not a whole gzip file"),
    "cut.csv.gz": (gzip.compress(b"text,label\n" + b"a,b\n" * 9999)[:-20], "not a whole gzip file"),
    "plain.csv.zst": (b"text,label\na,b\n", "not a whole zstd file"),
    "cut.csv.zst": (zstandard.compress(b"text,label\n" + b"a,b\n" * 9999)[:-9], "not a whole zstd file"),
    "text.parquet": (b"text,label\na,b\n", "not a whole Parquet file"),
    "cut.parquet": (as_parquet({"text": ["a"], "label": ["b"]})[:-9], "not a whole Parquet file"),
    "none.jsonl": (b"text,label\na,b\n", "is not JSON Lines: none of its first 2 lines"),
    "array.jsonl": (b'[\n{"text": "a"}\n]', "one JSON array|no column"),
    "zip.csv": (b"PK\x03\x04....", "begins like a zip file"),
    "parquet.csv": (as_parquet({"text": ["a"]}), "begins like a Parquet file"),
    "wide.csv": ("text,label\n".encode("utf-16"), "Say `encoding: utf-16`"),
    "binary.csv": (b"\0" * 500, "is not text"),
    "columns.csv": (
        b"Text,lable\na,b\n",
        r"no column 'text' \(did you mean 'Text'\?\), 'label' \(did you mean 'lable'",
    ),
    "tabs.csv": (b"text\tlabel\na\tb\n", "Say `format: tsv`"),
    "twice.csv": (b"text,label,text\na,b,c\n", "more than one column 'text'"),
    "keys.jsonl": (b'{"txt": "a", "label": 1}\n', "did you mean 'txt'.* Name those that are meant in `data.columns`"),
    "names.parquet": (as_parquet({"txt": ["a"], "label": ["b"]}), "did you mean 'txt'"),
}


@pytest.mark.parametrize("name", UNFIT)
def test_a_file_that_is_not_what_it_should_be_is_told_in_a_sentence(read: Reader, name: str) -> None:
    data, said = UNFIT[name]
    with pytest.raises(UnfitError, match=said) as fault:
        read(name, data)
    assert name in str(fault.value)


def test_a_file_that_is_not_there_is_told_with_the_nearest(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "reviews.csv").write_text("x")
    with pytest.raises(UnfitError, match=r"no file .*review\.csv\. Nearest in its folder: reviews\.csv\. Put it"):
        fingerprint(Source(uri=str(tmp_path / "review.csv")), settings)
    with pytest.raises(UnfitError, match=r"cannot be read: Is a directory\. Mend that, or change"):
        fingerprint(Source(uri=str(tmp_path), format="csv"), settings)


def test_the_fingerprint_is_the_hash_and_a_change_is_noticed(tmp_path: Path, settings: Settings) -> None:
    path = tmp_path / "x.csv"
    path.write_bytes(b"text,label\na,b\n")
    source = Source(uri=str(path))
    pin = fingerprint(source, settings)
    assert pin == hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(UnfitError, match="not the file that the project names"):
        fingerprint(Source(uri=str(path), sha256="0" * 64), settings)
    path.write_bytes(b"text,label\nc,d\n")
    with pytest.raises(EvertuneError, match="has changed since"), open_rows(source, pin, WANTED, settings):
        pass
