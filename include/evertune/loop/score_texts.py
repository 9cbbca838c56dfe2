"""CSV, TSV and JSON Lines as sources of batch scoring: they become a Parquet file first, in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from evertune import files
from evertune.loop import score_json_lines
from evertune.loop import score_places as places

if TYPE_CHECKING:
    import pyarrow as pa
    import pyarrow.parquet as pq

_PACKED = {".gz", ".bz2", ".zst"}
_BLOCK = 1 << 22
"""Bytes that are read at once, and so the longest that a row may be."""


@contextmanager
def opened(source: str, workspace: Path, column: str) -> Iterator[pq.ParquetFile]:
    """The rows of ``source``, which by its name is Parquet, CSV, TSV or JSON Lines, the latter packed or not.

    ``column`` is to hold texts, which of JSON Lines can only be seen here. Raises as
    :func:`evertune.loop.score_places.read_in_words` does.
    """
    import pyarrow.parquet as pq

    text_form = _form_of(source)
    if text_form is None:
        with places.opened(source) as found:
            yield found
        return
    form, read = text_form
    # Made anew by each run: it is little work beside the scoring, and tells the same rows of the same source.
    with files.nameless(workspace) as copy:
        with places.read_in_words(source, form), files.full_disk_in_words(workspace, "the copy of the source"):
            _copy(places.of(source), column, read, copy)
        with pq.ParquetFile(copy) as found:
            yield found


Read = Callable[[places.Place, "pa.NativeFile", str], "pa.RecordBatchReader"]


def _form_of(source: str) -> tuple[str, Read] | None:
    name = PurePosixPath(source)
    kind = PurePosixPath(name.stem).suffix if name.suffix.lower() in _PACKED else name.suffix
    return _FORMS.get(kind.lower())


def _copy(source: places.Place, column: str, read: Read, to: Path) -> None:
    import pyarrow.parquet as pq

    with source.system.open_input_stream(source.path) as stream:
        batches = read(source, stream, column)
        try:
            with pq.ParquetWriter(to, batches.schema, compression="zstd") as writer:
                for batch in batches:
                    writer.write_batch(batch)
        finally:
            del batches  # it reads ahead in a thread that ends with it, and the stream must not close under that


def _delimited(delimiter: str) -> Read:
    def read(place: places.Place, stream: pa.NativeFile, _column: str) -> pa.RecordBatchReader:
        import pyarrow as pa
        from pyarrow import csv

        parse = csv.ParseOptions(delimiter=delimiter, newlines_in_values=True)
        block = csv.ReadOptions(block_size=_BLOCK)
        with place.system.open_input_stream(place.path) as once:  # a packed one cannot be read from the start again
            names = csv.open_csv(once, block, parse).schema.names
        # Every cell stays the text that it is: what the first block looks like may not be what the last one does.
        texts = csv.ConvertOptions(column_types=dict.fromkeys(names, pa.string()))
        return csv.open_csv(stream, block, parse, texts)

    return read


def _json_lines(place: places.Place, stream: pa.NativeFile, column: str) -> pa.RecordBatchReader:
    return score_json_lines.reader(place, stream, column, _BLOCK)


_FORMS: dict[str, tuple[str, Read]] = {
    ".csv": ("CSV", _delimited(",")),
    ".tsv": ("TSV", _delimited("\t")),
    ".jsonl": ("JSON Lines", _json_lines),
    ".ndjson": ("JSON Lines", _json_lines),
}
