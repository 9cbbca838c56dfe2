import contextlib
import gzip
import hashlib
import json
from pathlib import Path

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st
from tests.data.sources.conftest import WANTED, Reader, as_parquet, cells

from evertune.data.sources import fingerprint, open_rows, rows
from evertune.project.options import Source
from evertune.records import EvertuneError, UnfitError
from evertune.settings import Settings, load


def test_other_encodings(read: Reader) -> None:
    assert cells(read("l.csv", "text,label\ncafé,a\n".encode("cp1252"), encoding="cp1252")) == [["café", "a"]]
    assert cells(read("w.csv", "text,label\ncafé,a\n".encode("utf-16"), encoding="utf-16")) == [["café", "a"]]
    assert read("m.csv", b"text,label\n\x81,a\nb,c\n", encoding="cp1252")[0].fault == rows.INVALID_BYTES


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "UTF_16_BE", "utf-32-le", "utf-32-be", "gb18030", "u16"])
def test_a_byte_order_mark_is_no_part_of_the_first_column(read: Reader, encoding: str) -> None:
    data = "\ufefftext,label\ncafé,a\n".encode(encoding)
    assert cells(read("x.csv", data, encoding=encoding)) == [["café", "a"]]
    assert cells(read("x.jsonl", '\ufeff{"text": "é", "label": 1}\n'.encode(encoding), encoding=encoding)) == [
        ["é", "1"]
    ]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-32", "U16"])
def test_an_encoding_that_the_stream_has_not_is_told(read: Reader, encoding: str) -> None:
    for name in ("x.csv", "x.jsonl"):
        with pytest.raises(UnfitError, match=r"is no text in utf-\d\d \(.*BOM\)\. Say which `encoding` it has: utf-8,"):
            read(name, b"text,label\na,b\n", encoding=encoding)


ENCODINGS = st.sampled_from(
    ["utf-8", "utf-8-sig", "cp1252", "utf-16", "utf-16-be", "u32", "utf-7", "shift_jis", "iso2022_jp", "unicode_escape"]
)


@pytest.mark.filterwarnings("ignore:invalid escape sequence:DeprecationWarning")
@given(st.binary(max_size=200), ENCODINGS)
def test_no_bytes_whatever_break_the_reader(
    tmp_path_factory: pytest.TempPathFactory, data: bytes, encoding: str
) -> None:
    folder = tmp_path_factory.mktemp("any")
    reader = Reader(folder, load({"EVERTUNE_HOME": str(folder)}))
    for name in ("x.csv", "x.tsv", "x.jsonl", "x.parquet", "x.csv.gz", "x.csv.zst"):
        head = "text,label\n".encode(encoding) if name == "x.csv" else b""
        with contextlib.suppress(UnfitError):
            reader(name, head + data, **({} if "parquet" in name else {"encoding": encoding}))


def jsonl(*values: object) -> bytes:
    return "".join(json.dumps(value) + "\n" for value in values).encode()


def test_json_lines(read: Reader) -> None:
    data = jsonl({"text": "a", "label": 3, "more": [1]}, {"label": None, "text": "é\n"}, {"text": "b", "label": True})
    assert cells(read("x.jsonl", data)) == [["a", "3"], ["é\n", None], ["b", "true"]]


def test_a_number_that_is_none_is_missing_in_json_lines(read: Reader) -> None:
    assert cells(read("x.jsonl", b'{"text": "a", "label": NaN}\n{"text": NaN, "label": 1}\n')) == [
        ["a", None],
        [None, "1"],
    ]


def test_lists_in_lists_cost_their_row_however_deep_they_are(read: Reader) -> None:
    # Where reading ends and writing begins to be too deep hangs on the depth of the caller.
    lines = [b'{"text": "a", "label": ' + b"[" * depth + b"]" * depth + b"}\n" for depth in range(1, 1000)]
    found = read("x.jsonl", b"".join(lines))
    assert len(found) == 999
    assert {row.fault for row in found} <= {None, rows.NOT_JSON}


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


PARQUET = "not a whole Parquet file, .* Write or fetch it again, or say its `format:`"
UNFIT = {
    "empty.csv": (b"", "is empty"),
    "empty.jsonl": (b"", "is empty"),
    "empty.csv.gz": (gzip.compress(b""), "is empty"),
    "nothing.csv.gz": (b"", "is empty|not a whole gzip"),
    "plain.csv.gz": (b"text,label\na,b\n", "not a whole gzip file"),
    "cut.csv.gz": (gzip.compress(b"text,label\n" + b"a,b\n" * 9999)[:-20], "not a whole gzip file"),
    "plain.csv.zst": (b"text,label\na,b\n", "not a whole zstd file"),
    "cut.csv.zst": (zstandard.compress(b"text,label\n" + b"a,b\n" * 9999)[:-9], "not a whole zstd file"),
    "text.parquet": (b"text,label\na,b\n", PARQUET),
    "cut.parquet": (
        as_parquet({"text": ["a"], "label": ["b"]})[:-9],
        PARQUET,
    ),
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
