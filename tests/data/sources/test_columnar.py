import gzip
import io
import math
import os
import resource
import tempfile
from collections.abc import Callable
from datetime import date, datetime, time, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
import zstandard
from pyarrow import parquet
from tests.data.sources.conftest import Reader, as_parquet, cells

from evertune import files
from evertune.data.sources import columnar, open_rows, rows
from evertune.project.options import Source
from evertune.records import EvertuneError


def test_a_local_file_is_read_in_place(read: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "nameless", None)
    assert cells(read("x.parquet", as_parquet({"text": ["a"], "label": ["b"]}))) == [["a", "b"]]


@pytest.mark.parametrize("pack", [(".gz", gzip.compress), (".zst", zstandard.compress)])
def test_a_packed_file_needs_no_room_but_in_the_home(
    read: Reader, monkeypatch: pytest.MonkeyPatch, pack: tuple[str, Callable[[bytes], bytes]]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", "/proc")  # where nothing can be written
    ending, packed = pack
    data = packed(as_parquet({"text": ["a"], "label": ["b"]}))
    assert cells(read(f"x.parquet{ending}", data)) == [["a", "b"]]
    assert list(read.settings.home.iterdir()) == []


def test_of_the_copy_of_a_packed_file_no_name_is_there_while_it_is_read(read: Reader) -> None:
    path = read.folder / "x.parquet.gz"
    path.write_bytes(gzip.compress(as_parquet({"text": ["a", "b"], "label": ["c", "d"]})))
    with open_rows(Source(uri=str(path)), files.sha256(path), ["text"], read.settings) as found:
        assert next(found).cells == ["a"]
        assert list(read.settings.home.iterdir()) == []


def test_a_full_disk_under_the_copy_is_told_as_the_homes(read: Reader) -> None:
    data = gzip.compress(as_parquet({"text": [os.urandom(200_000).hex()], "label": ["b"]}))
    path = read.folder / "x.parquet.gz"
    path.write_bytes(data)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))
    try:
        with (
            pytest.raises(EvertuneError, match=rf"disk is full: a copy of {path} needs more room at .*/home than"),
            open_rows(Source(uri=str(path)), files.sha256(path), ["text"], read.settings) as found,
        ):
            next(found)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(("length", "most"), [(10, 1000), (100_000, 84), (20_000_000, 1)])
def test_of_long_rows_few_are_in_memory_at_once(length: int, most: int) -> None:
    data = as_parquet({"text": [chr(65 + n) * length for n in range(3)]}, use_dictionary=False)
    assert most // 2 <= columnar._batch_rows(parquet.ParquetFile(io.BytesIO(data)).metadata) <= most


def test_a_file_without_rows_has_none(read: Reader) -> None:
    assert read("x.parquet", as_parquet({"text": pa.array([], pa.string()), "label": pa.array([], pa.string())})) == []


BERLIN = pa.timestamp("s", "Europe/Berlin")
AS_TEXT: dict[str, tuple[pa.Array, list[str | None]]] = {
    "decimal": (pa.array([Decimal("1.00"), Decimal("-20")]), ["1.00", "-20.00"]),
    "decimal without places": (pa.array([Decimal("3200")], pa.decimal256(10, 0)), ["3200"]),
    "float": (pa.array([1.0, 0.1, math.inf]), ["1.0", "0.1", "inf"]),
    "float32": (pa.array([1.0, 0.1], pa.float32()), ["1.0", "0.1"]),
    "float16": (pa.array([1.0, 0.1], pa.float16()), ["1.0", "0.1"]),
    "integer": (pa.array([1, -3], pa.int8()), ["1", "-3"]),
    "uint64": (pa.array([2**64 - 1], pa.uint64()), ["18446744073709551615"]),
    "truth": (pa.array([True, False]), ["true", "false"]),
    "date": (pa.array([date(2024, 1, 2)]), ["2024-01-02"]),
    "date64": (pa.array([date(2024, 1, 2)], pa.date64()), ["2024-01-02"]),
    "time": (pa.array([time(1, 2, 3)]), ["01:02:03"]),
    "timestamp": (pa.array([datetime(2024, 1, 2, 3, 4, 5, 6)]), ["2024-01-02T03:04:05.000006"]),  # noqa: DTZ001
    "timestamp with a zone": (pa.array([1704164645], BERLIN), ["2024-01-02T04:04:05+01:00"]),
    "nanoseconds": (pa.array([1704164645000000001], pa.timestamp("ns")), ["2024-01-02T03:04:05.000000001"]),
    "duration": (pa.array([timedelta(days=1, seconds=2, microseconds=3)]), ["86402.000003"]),
    "nanoseconds of duration": (pa.array([1500000000], pa.duration("ns")), ["1.5"]),
    "dictionary": (pa.array(["a", "é"]).dictionary_encode(), ["a", "é"]),
    "dictionary of numbers": (pa.array([5, 6]).dictionary_encode(), ["5", "6"]),
    "large string": (pa.array(["é"], pa.large_string()), ["é"]),
    "string view": (pa.array(["é"], pa.string_view()), ["é"]),
    "binary": (pa.array(["é".encode()], pa.large_binary()), ["é"]),
    "bytes of one length": (pa.array([b"ab"], pa.binary(2)), ["ab"]),
    "list": (pa.array([[1, 2], []]), ["[1, 2]", "[]"]),
    "list of other things": (pa.array([[Decimal("1.0")]]), ['["1.0"]']),
    "list of bytes": (pa.array([["é".encode()]]), ['["é"]']),
    "struct": (pa.array([{"b": "é", "a": None}]), ['{"a": null, "b": "é"}']),
    "map": (pa.array([[("k", 1)]], pa.map_(pa.string(), pa.int64())), ['[["k", 1]]']),
    "null": (pa.nulls(1), [None]),
}


@pytest.mark.parametrize("kind", AS_TEXT)
def test_what_a_type_becomes(read: Reader, kind: str) -> None:
    column, expected = AS_TEXT[kind]
    column = pa.chunked_array([column, pa.nulls(1, column.type)]).combine_chunks()
    found = read("x.parquet", as_parquet({"text": ["a"] * len(column), "label": column}))
    assert cells(found) == [["a", text] for text in (*expected, None)]


TOKYO = pa.timestamp("s", "Asia/Tokyo")
END_OF_TIME = 253402300799
"""The last second of the year 9999 in UTC, which databases write for "never"; Tokyo has the year 10000 by then."""
UNKNOWN_TO_PYTHON: dict[str, tuple[pa.Array, list[str]]] = {
    "timestamp": (
        pa.array([END_OF_TIME, 1704164645], TOKYO),
        ["9999-12-31 23:59:59.000Z", "2024-01-02T12:04:05+09:00"],
    ),
    "date": (pa.array([2**30, 1], pa.date32()), ["<value out of range: 1073741824>", "1970-01-02"]),
    "duration": (pa.array([2**62, 2], pa.duration("s")), ["4611686018427387904", "2.0"]),
    "zone": (pa.array([1704164645], pa.timestamp("s", "Mars/Base")), ["2024-01-02 03:04:05.000Z"]),
    "list": (
        pa.array([[END_OF_TIME], [1]], pa.list_(TOKYO)),
        ["[9999-12-31 23:59:59.000Z]", '["1970-01-01T09:00:01+09:00"]'],
    ),
}


@pytest.mark.parametrize("kind", UNKNOWN_TO_PYTHON)
def test_a_value_that_python_has_none_like_stands_for_itself(read: Reader, kind: str) -> None:
    column, expected = UNKNOWN_TO_PYTHON[kind]
    found = read("x.parquet", as_parquet({"text": ["a"] * len(column), "label": column}))
    assert [(*row.cells, row.fault) for row in found] == [("a", text, None) for text in expected]


def test_a_number_that_is_none_is_missing(read: Reader) -> None:
    for kind in (pa.float64(), pa.float32(), pa.float16()):
        data = as_parquet({"text": ["a", "b"], "label": pa.array([math.nan, 1], kind)})
        assert cells(read("x.parquet", data)) == [["a", None], ["b", "1.0"]]


def test_parquet_with_a_string_that_is_no_utf8(read: Reader) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff!"]).buffers())
    found = read("x.parquet", as_parquet({"text": bad, "label": ["a", "b"]}))
    assert [row.fault for row in found] == [None, rows.INVALID_BYTES]
