"""The files of one split: its rows as Parquet, its token ids as two arrays that are mapped, not loaded.

``{split}.ids.npy`` holds the ids of all rows one after the other (int32), ``{split}.offsets.npy`` where each row begins
and, last, where all end (int64, one more than rows): row i is ``ids[offsets[i]:offsets[i + 1]]``.
"""

from __future__ import annotations

import contextlib
import io
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, Self

import numpy as np

from evertune import text
from evertune.data import recent
from evertune.data.recent import Floats
from evertune.data.rows import Mask, Rows
from evertune.data.split import RECENT, SIDES, SPLITS

JUDGED = ["row_id", "text", "label", "label_index", "id", "group", "time", "tokens", "cut"]
"""Columns that judged traffic has of those of all rows."""
REPLACED = {"row_id", "text", "label", "target", "subject", "source"}
"""Columns of valid rows that a dataset does not carry over as they are."""


class NpyWriter:
    """A one-dimensional ``.npy`` file written piece by piece: its length stands in the header, so that comes last."""

    def __init__(self, path: Path, dtype: str) -> None:
        self._dtype = np.dtype(dtype)
        self._stream: BinaryIO = path.open("wb")
        self.length = 0
        self._header = len(self._stream_header())
        self._stream.write(b"\0" * self._header)

    def write(self, values: np.ndarray[Any, Any]) -> None:
        """Append ``values``."""
        self._stream.write(values.astype(self._dtype, copy=False).tobytes())
        self.length += len(values)

    def close(self) -> None:
        """Write the header; without it the file is not readable as an array."""
        if self._stream.closed:
            return
        with self._stream:
            header = self._stream_header()
            if len(header) != self._header:  # numpy pads for 21 digits of length
                raise ValueError(f"the header of {self.length} values does not fit the room left for it")
            self._stream.seek(0)
            self._stream.write(header)

    def _stream_header(self) -> bytes:
        buffer = io.BytesIO()
        description = {"descr": self._dtype.str, "fortran_order": False, "shape": (self.length,)}
        np.lib.format.write_array_header_1_0(buffer, description)
        return buffer.getvalue()


def write(
    folder: Path, rows: Rows, kept: Mask, base: Path, max_tokens: int, *, weights: Floats | None = None
) -> dict[str, Any]:
    """Tokenise the rows that stay, write each split's files, return how much was cut and how many tokens there are.

    With traffic there are the files of a further split, ``recent``: rows that are judged on, with their ``weight`` out
    of ``weights`` (one a row of all), the chance that they were picked with, and whose label it is. The columns of the
    other splits are those that they have without traffic.
    """
    import pyarrow as pa

    tokenizer = text.load_tokenizer(base)
    with contextlib.ExitStack() as stack:
        names = SPLITS if rows.traffic is None else SIDES[: RECENT + 1]
        writers = [stack.enter_context(SplitWriter(folder, name)) for name in names]
        for start, batch in rows.numbered():
            stay = np.flatnonzero(kept[start : start + len(batch)])
            chosen = batch.take(pa.array(stay))
            texts = [text.normalise(value) for value in chosen["text"].to_pylist()]
            ids, cut = text.encode(tokenizer, texts, max_tokens)
            classes = rows.classes[start + stay]
            made = {
                "row_id": chosen["row_id"],
                "text": pa.array(texts, type=pa.string()),
                "label": pa.array([rows.labels[i] for i in classes], type=pa.string()),
                "label_index": pa.array(classes, type=pa.int32()),
            }
            further = set(recent.COLUMNS) if start >= rows.of_sources else set()
            made |= {name: chosen[name] for name in chosen.schema.names if name not in REPLACED | further}
            made["tokens"] = pa.array([len(row) for row in ids], type=pa.int32())
            made["cut"] = pa.array(cut, type=pa.bool_())
            table = pa.table(made)
            for number, writer in enumerate(writers):
                some = np.flatnonzero(rows.splits[start + stay] == number)
                if number == RECENT:
                    if not further:
                        continue
                    table = _judged(table, chosen, None if weights is None else weights[start + stay])
                writer.write(table.take(pa.array(some)), [ids[i] for i in some])
    tokens = {writer.name: writer.tokens for writer in writers}
    return {"cut": sum(writer.cut for writer in writers), "max_tokens": max_tokens, "tokens": tokens}


def _judged(table: Any, chosen: Any, weights: Floats | None) -> Any:
    """The rows with what judging them takes, and without the project's own columns, which traffic never fills."""
    import pyarrow as pa

    table = table.select(JUDGED)
    for name, of_traffic in (("origin", "traffic:origin"), ("probability", "traffic:probability")):
        table = table.append_column(name, chosen[of_traffic])
    heavy = np.ones(len(table)) if weights is None else weights
    return table.append_column("weight", pa.array(heavy, type=pa.float64()))


class SplitWriter:
    """Writes one split's rows and token ids in batches. A context manager: on leaving, its files are complete."""

    def __init__(self, folder: Path, name: str) -> None:
        self.name = name
        self.cut = 0
        """Rows whose text was longer than the limit."""
        self._path = folder / f"{name}.parquet"
        self._parquet: Any = None
        self._ids = NpyWriter(folder / f"{name}.ids.npy", "<i4")
        self._offsets = NpyWriter(folder / f"{name}.offsets.npy", "<i8")
        self._offsets.write(np.zeros(1, dtype=np.int64))

    @property
    def tokens(self) -> int:
        """Token ids written so far."""
        return self._ids.length

    def write(self, table: Any, ids: list[list[int]]) -> None:
        """Append the rows of ``table`` and their token ids, in the same order."""
        import pyarrow.compute as pc
        import pyarrow.parquet as pq

        if self._parquet is None:
            self._parquet = pq.ParquetWriter(self._path, table.schema, compression="zstd")
        if not len(table):
            return
        self._parquet.write_table(table)
        self.cut += pc.sum(table["cut"]).as_py()
        lengths = np.fromiter(map(len, ids), dtype=np.int64, count=len(ids))
        self._offsets.write(self.tokens + np.cumsum(lengths))
        self._ids.write(np.fromiter((i for row in ids for i in row), dtype=np.int32, count=int(lengths.sum())))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._parquet is not None:
            self._parquet.close()
        self._ids.close()
        self._offsets.close()
