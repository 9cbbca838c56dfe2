"""Labelled traffic as an input of a run: one Parquet file that never changes, named by the SHA-256 of its bytes.

Who writes it: the claim of a run (:mod:`evertune.loop.labels`), once; the run's pins then name it, so a retry learns
from the very same labels, and the same labels are the same plan. The moment of reading is not in it, nor when a label
was given: who says the same again changes nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, NamedTuple

from evertune import files
from evertune.records import UnfitError
from evertune.settings import Settings

BATCH = 8192


class LabelledRow(NamedTuple):
    """An answer and what it should have been."""

    prediction_id: str
    text: str
    """Redacted, as the traffic log has it."""
    label: str
    """The name of a class, or what somebody took for one."""
    group: str | None
    """Hash of the document, conversation or customer; ``None`` where the caller named none."""
    origin: str
    """``expert``, ``import`` or ``correction``."""
    probability: float | None
    """Chance with which it was picked for labelling; ``None``: nobody picked it."""
    judged: bool
    """Whether a model may be judged on it: not, where only wrong answers were ever reported."""
    generation: int
    """The release that answered."""
    answered: datetime


def place(settings: Settings, slug: str, watermark: str) -> Path:
    """Where the file lies."""
    return settings.home / "labels" / slug / f"{watermark}.parquet"


def write(rows: Sequence[LabelledRow], settings: Settings, slug: str) -> str:
    """Write the rows in the order of their ids, once; return the hash that names the file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    ordered = sorted(rows, key=lambda row: row.prediction_id)
    sink = pa.BufferOutputStream()
    pq.write_table(pa.Table.from_pylist([row._asdict() for row in ordered], _schema()), sink, compression="zstd")
    data = sink.getvalue().to_pybytes()
    watermark = hashlib.sha256(data).hexdigest()
    path = place(settings, slug, watermark)
    if not path.is_file():
        files.write_bytes(path, data)
    return watermark


def read(settings: Settings, slug: str, watermark: str) -> Iterator[LabelledRow]:
    """The rows of the file, verified before the first of them.

    Raises :class:`UnfitError` where the file is gone and :class:`files.CorruptError` where its bytes have changed.
    """
    import pyarrow.parquet as pq

    path = place(settings, slug, watermark)
    if not path.is_file():
        raise UnfitError(f"The labels that this run was planned with are gone: {path}. Start a new run.")
    if files.sha256(path) != watermark:
        raise files.CorruptError(f"{path} is not what its name says: its bytes have changed. Start a new run.")
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(batch_size=BATCH, use_threads=False):
            yield from (LabelledRow(**row) for row in batch.to_pylist())


def _schema() -> Any:
    import pyarrow as pa

    kinds = {
        "probability": pa.float64(),
        "judged": pa.bool_(),
        "generation": pa.int64(),
        "answered": pa.timestamp("us", "UTC"),
    }
    return pa.schema([(name, kinds.get(name, pa.string())) for name in LabelledRow._fields])
