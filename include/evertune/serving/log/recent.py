"""The newest answers of a release, as arrays: for looking at many of them at once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from evertune.files import CorruptError
from evertune.serving.log import codec, reading
from evertune.serving.log.drain import stored
from evertune.serving.log.frames import of_kind
from evertune.serving.log.nodes import folders, segments
from evertune.serving.log.records import StoredAnswer

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ["id", "text", "scores", "embedding"]
_FRUITLESS = 200
"""Files without an answer of the release, one after the other, behind which none is looked for."""
log = structlog.get_logger(__name__)


class Recent(NamedTuple):
    """Answers, a row an answer, the newest segments first."""

    ids: list[str]
    texts: list[str]
    scores: NDArray[np.float64]
    """``[n, classes]``"""
    embeddings: NDArray[np.float32]
    """``[n, width]``"""


class _Row(NamedTuple):
    id: str
    text: str
    scores: list[float]
    embedding: NDArray[np.float16]


def recent(traffic: Path, project: str, generation: int, most: int) -> Recent:
    """The newest ``most`` answers, or somewhat more or less of them: those of a segment come together.

    Left out are answers of another shape than the newest one's, which no release can have given.
    """
    rows: dict[str, _Row] = {}
    for row in _in_segments(traffic, project, generation):
        rows[row.id] = row
        if len(rows) >= most:
            break
    for row in _in_files(traffic, project, generation, most - len(rows)):
        rows.setdefault(row.id, row)
    found = list(rows.values())[: max(most, 0)]
    shape = (len(found[0].scores), len(found[0].embedding)) if found else (0, 0)
    found = [row for row in found if (len(row.scores), len(row.embedding)) == shape]
    return Recent(
        [row.id for row in found],
        [row.text for row in found],
        np.array([row.scores for row in found], np.float64).reshape(len(found), shape[0]),
        np.array([row.embedding for row in found], np.float32).reshape(len(found), shape[1]),
    )


def _in_segments(traffic: Path, project: str, generation: int) -> Iterator[_Row]:
    paths = [path for folder in folders(traffic) for path in segments(folder)]
    for path in sorted(paths, key=lambda path: path.name, reverse=True):
        try:
            header, found = of_kind(path, codec.ANSWER)
            rows = [stored(header.segment, offset, codec.decode(payload)) for offset, payload in found]
        except FileNotFoundError:
            continue  # drained meanwhile: it is in Parquet
        except (CorruptError, OSError, ValueError, TypeError) as fault:
            log.warning("log.segment_unread", path=str(path), reason=str(fault))
            continue
        for row in rows:
            if isinstance(row, StoredAnswer) and (row.answer.project, row.answer.generation) == (project, generation):
                scores, embedding = row.answer.output.get("scores"), row.answer.embedding
                if isinstance(scores, list) and embedding is not None:
                    yield _Row(row.id, row.answer.text, scores, embedding)


def _in_files(traffic: Path, project: str, generation: int, wanted: int) -> Iterator[_Row]:
    import pyarrow.parquet as pq

    fruitless = 0
    for path in reversed(reading.answer_files(traffic, project)):
        if wanted <= 0 or fruitless > _FRUITLESS:
            return
        try:
            table = pq.read_table(
                path, columns=_COLUMNS, filters=[("generation", "=", generation)], partitioning=None
            )  # fmt: skip
        except (OSError, ValueError) as fault:
            log.warning("log.file_unread", path=str(path), reason=str(fault))
            continue
        rows = list(_rows(table))
        fruitless = 0 if rows else fruitless + 1
        wanted -= len(rows)
        yield from rows


def _rows(table: pa.Table) -> Iterator[_Row]:
    for batch in table.to_batches(64):  # requests are answered in the same process: let them in between
        for row in batch.to_pylist():
            if row["scores"] is not None and row["embedding"] is not None:
                yield _Row(row["id"], row["text"], row["scores"], np.frombuffer(row["embedding"], codec.EMBEDDING))
