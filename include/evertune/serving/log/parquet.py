"""The Parquet files of drained segments: one a project, hour and kind, named after the segment.

The hour is that of the answer's writing; feedback lies in the hour of the answer that it is about.

Written aside, fsynced, renamed; the same segment always gives the same files, so a drain that was killed is done again
without doubling anything. Embeddings are kept as the bytes they are (little-endian float16), because their width
belongs to the model and so changes between releases.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orjson

from evertune import files
from evertune.serving.log.codec import EMBEDDING
from evertune.serving.log.ids import Place, hex_of
from evertune.serving.log.records import Answer, Feedback, StoredAnswer, StoredFeedback, fields_of

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray

ANSWERS, FEEDBACK = "answers", "feedback"
ROW_GROUP = 1024
"""Rows: what is read to find one of them."""


def schema(kind: str) -> pa.Schema:
    """The columns. A later version may add some, and none is taken away."""
    import pyarrow as pa

    moment = pa.timestamp("us", "UTC")
    where = [("id", pa.string()), ("segment", pa.int64()), ("offset", pa.int64()), ("project", pa.string())]
    answers = [
        ("generation", pa.int64()), ("model_version", pa.int64()), ("digest", pa.string()), ("text", pa.string()),
        ("label", pa.string()), ("scores", pa.list_(pa.float64())), ("cut", pa.bool_()), ("tokens", pa.int64()),
        ("output", pa.string()), ("embedding", pa.binary()), ("key_id", pa.string()), ("received", moment),
        ("answered", moment), ("group", pa.string()),
    ]  # fmt: skip
    feedback = [
        ("prediction_id", pa.string()), ("generation", pa.int64()), ("predicted", pa.string()), ("truth", pa.string()),
        ("correction", pa.string()), ("thumbs", pa.string()), ("comment", pa.string()), ("key_id", pa.string()),
        ("at", moment), ("origin", pa.string()), ("annotator", pa.string()), ("probability", pa.float64()),
        ("label", pa.string()),
    ]  # fmt: skip
    return pa.schema(where + (answers if kind == ANSWERS else feedback))


def name_of(segment: int, kind: str) -> str:
    """The name of the segment's file in the folder of an hour."""
    return f"{hex_of(segment)}.{kind}.parquet"


def kind_of(record: Answer | Feedback) -> str:
    """In which file the record belongs."""
    return ANSWERS if isinstance(record, Answer) else FEEDBACK


def write(path: Path, kind: str, rows: Iterable[StoredAnswer | StoredFeedback]) -> None:
    """Write the file whole or not at all. One that is there is whole, and so it stays.

    In pieces, because requests are answered in the same process: many rows at once would bring on long collections
    of garbage.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    if path.exists():
        return
    new = not path.parent.exists()
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.part")
    try:
        with pq.ParquetWriter(aside, schema(kind), compression="zstd") as writer:
            left = iter(rows)
            while some := [_row(row) for row in islice(left, ROW_GROUP)]:
                writer.write_table(pa.Table.from_pylist(some, schema=schema(kind)))
        with aside.open("rb+") as stream:
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    for folder in (path.parent, *path.parent.parents[: 3 if new else 0]):  # hour; then day, project and root
        files.fsync(folder)


def _row(row: StoredAnswer | StoredFeedback) -> dict[str, Any]:
    where = {"id": row.id, "segment": row.segment, "offset": row.offset}
    if isinstance(row, StoredFeedback):
        return {**where, **row.feedback._asdict()}
    answer = row.answer
    embedding = None if answer.embedding is None else answer.embedding.astype(EMBEDDING).tobytes()
    written = {"output": orjson.dumps(answer.output).decode(), "embedding": embedding}
    return {**where, **answer._asdict(), **_columns(answer.output), **written}


def _columns(output: object) -> dict[str, Any]:
    """What of the output has a column of its own. Another shape than ours has none: a record must not stop a drain."""
    given = output if isinstance(output, dict) else {}
    label, scores, cut, tokens = (given.get(name) for name in ("label", "scores", "cut", "tokens"))
    numbers = scores if isinstance(scores, list) and all(isinstance(one, int | float) for one in scores) else None
    return {
        "label": label if isinstance(label, str) else None,
        "scores": None if numbers is None else [float(one) for one in numbers],
        "cut": cut if isinstance(cut, bool) else None,
        "tokens": tokens if isinstance(tokens, int) and abs(tokens) < 1 << 63 else None,
    }


def find(path: Path, place: Place, id_: str) -> StoredAnswer | None:
    """The answer of this id; ``None`` where the file has none. Raises FileNotFoundError without the file."""
    import pyarrow.parquet as pq

    found = pq.read_table(path, filters=[("offset", "=", place.offset)], partitioning=None).to_pylist()
    return next((answer_of(row) for row in found if row["id"] == id_), None)


def answer_of(row: dict[str, Any]) -> StoredAnswer:
    """A row of the answers' files as the record."""
    import numpy as np

    blob = row["embedding"]
    embedding = None if blob is None else np.frombuffer(blob, EMBEDDING).copy()
    fields = {**row, "output": orjson.loads(row["output"]), "embedding": embedding}
    return StoredAnswer(row["id"], row["segment"], row["offset"], Answer(**fields_of(Answer, fields)))


def feedback_of(row: dict[str, Any]) -> StoredFeedback:
    """A row of the feedback's files as the record."""
    return StoredFeedback(row["id"], row["segment"], row["offset"], Feedback(**fields_of(Feedback, row)))


def embeddings(table: pa.Table) -> NDArray[np.float16]:
    """The embeddings of answers of one release, one a row. Raises ValueError where their widths differ."""
    import numpy as np

    rows = [np.frombuffer(blob, EMBEDDING) for blob in table.column("embedding").to_pylist() if blob is not None]
    return np.stack(rows) if rows else np.empty((0, 0), np.float16)
