import gzip
import io
import os
import resource
import tempfile
from collections.abc import Callable

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


def test_parquet_with_typed_columns(read: Reader) -> None:
    data = as_parquet({"label": [1, None], "score": [0.5, 1.0], "text": pa.array(["a", None]).dictionary_encode()})
    assert cells(read("x.parquet", data, ("text", "label", "score"))) == [["a", "1", "0.5"], [None, None, "1.0"]]


def test_parquet_with_a_string_that_is_no_utf8(read: Reader) -> None:
    bad = pa.Array.from_buffers(pa.string(), 2, pa.array([b"ok", b"\xff!"]).buffers())
    found = read("x.parquet", as_parquet({"text": bad, "label": ["a", "b"]}))
    assert [row.fault for row in found] == [None, rows.INVALID_BYTES]
