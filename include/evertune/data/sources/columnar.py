"""Sources with typed columns: Parquet files, and batches of Hugging Face data sets."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import pyarrow as pa
from pyarrow import parquet

from evertune import files
from evertune.data.sources.rows import Row, locate, typed_row
from evertune.records import UnfitError

_BATCH = 1000
"""Rows that are in memory at once, or fewer where rows are long."""
_BATCH_BYTES = 8 << 20


def rows(stream: IO[bytes], wanted: Sequence[str], where: str, scratch: Path) -> Iterator[Row]:
    """Rows of a Parquet file. Raises :class:`UnfitError` where it is none or a column is missing.

    Where the file cannot be read in place, a copy of it lies in the folder ``scratch`` meanwhile.
    """
    with _from_its_end(stream, where, scratch) as seekable:
        try:
            file = parquet.ParquetFile(seekable)
        except (pa.ArrowInvalid, OSError) as fault:
            raise UnfitError(
                f"{where} is not a whole Parquet file, as its ending says ({_short(fault)}). Write or fetch it again, "
                "or say its `format:`."
            ) from fault
        locate(file.schema_arrow.names, wanted, where)
        columns = list(dict.fromkeys(wanted))
        try:
            for batch in file.iter_batches(batch_size=_batch_rows(file.metadata), columns=columns):
                yield from batch_rows({name: _values(batch.column(name)) for name in batch.schema.names}, wanted)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as fault:
            raise UnfitError(f"{where} is a damaged Parquet file ({_short(fault)}). Write it again.") from fault


@contextlib.contextmanager
def _from_its_end(stream: IO[bytes], where: str, scratch: Path) -> Iterator[IO[bytes]]:
    """The stream where it is a file; else a copy, for Parquet is read from its end.

    A member of a wheel or a .gz says that it can be, and begins anew for each step back. The copy is what redaction
    has not seen, so no name leads to it.
    """
    if isinstance(stream, io.BufferedReader) and isinstance(stream.raw, io.FileIO):
        yield stream
        return
    scratch.mkdir(parents=True, exist_ok=True)
    with files.nameless(scratch) as copy, copy.open("r+b") as seekable:
        with files.full_disk_in_words(scratch, f"a copy of {where}"):
            while piece := stream.read(1 << 20):
                seekable.write(piece)
            seekable.seek(0)
        yield seekable


def _batch_rows(metadata: parquet.FileMetaData) -> int:
    groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
    longest = max((group.total_byte_size // max(group.num_rows, 1) for group in groups), default=0)
    return max(min(_BATCH, _BATCH_BYTES // max(longest, 1)), 1)


def batch_rows(batch: Mapping[str, Sequence[Any]], wanted: Sequence[str]) -> Iterator[Row]:
    """Rows of one batch of columns."""
    for values in zip(*(batch[name] for name in wanted), strict=True):
        yield typed_row(values)


def _values(column: pa.Array) -> list[Any]:
    if pa.types.is_float32(column.type) or pa.types.is_float16(column.type):
        # 0.1 and not 0.10000000149011612, which is what it comes to as one of Python's numbers.
        known = column.is_valid().to_pylist()
        shown = map(str, column.to_numpy(zero_copy_only=False))
        return [float(number) if there else None for number, there in zip(shown, known, strict=True)]
    try:
        values: list[Any] = column.to_pylist()
    except UnicodeDecodeError:
        # One bad string: take the bytes, and let each row stand for itself.
        values = [None if value is None else bytes(value) for value in column.cast(pa.binary()).to_pylist()]
    except (OverflowError, pa.ArrowInvalid):
        # A date beyond those that Python has, or a time in a zone that it does not know: one bad value costs no other.
        values = [_value(column.slice(row, 1)) for row in range(len(column))]
    return values


def _value(one: pa.Array) -> Any:
    """The array's only value; as Arrow writes it (times in UTC) where Python has none like it."""
    try:
        return one.to_pylist()[0]
    except (OverflowError, pa.ArrowInvalid):
        return one.to_string(skip_new_lines=True).removeprefix("[").removesuffix("]")


def _short(fault: Exception) -> str:
    return str(fault).split(". ", maxsplit=1)[0].strip().rstrip(".")[:200]
