"""A window's answers, and labelled ones, out of the traffic log: what the statistics read.

Numbers of rows mean the project's answers in one segment, in the order of their offsets, over its files of all hours.
What a file that is gone or torn held is passed over and told, and the monitor goes on; one that cannot be read at the
moment is tried again.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import structlog
from sqlalchemy import Engine

from evertune.ledger import windows
from evertune.ledger.cutting import Outline, Pending
from evertune.ledger.windows import Read
from evertune.loop.labels import without_complaints
from evertune.monitoring.samples import UNLABELLED, Sample
from evertune.project import Project
from evertune.records import UnreachableError, Window
from evertune.serving.log import parquet
from evertune.serving.log.codec import EMBEDDING
from evertune.serving.log.labels import Labelled
from evertune.serving.log.news import Counted, Marks, news
from evertune.serving.log.reading import PARQUET
from evertune.settings import Settings

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("id", "generation", "text", "scores", "embedding")
log = structlog.get_logger(__name__)


class _Found(NamedTuple):
    """What of a segment's answers can be read."""

    table: pa.Table
    lost: int


def outlines(settings: Settings, slug: str) -> Read:
    """How :func:`evertune.ledger.windows.cut` gets to know the answers of a segment.

    Raises :class:`UnreachableError` where the whole log is away: its rows must not be taken for gone.
    """
    root = settings.home / "traffic" / PARQUET

    def read(pending: Pending) -> Outline:
        if not root.is_dir():
            raise UnreachableError(
                f"The traffic log {root} is not there, though the ledger knows of answers in it. See that "
                "EVERTUNE_HOME is the servers', and that its disk is there."
            )
        found = _read(root / slug, pending, ("generation", "answered"))
        return Outline(found.table["generation"].to_pylist(), found.table["answered"].to_pylist(), found.lost)

    return read


def _read(project: Path, pending: Pending, columns: Sequence[str]) -> _Found:
    import pyarrow as pa
    import pyarrow.parquet as pq

    tables, lost = [], 0
    for hour, records in sorted(pending.hours.items()):
        path = project / hour / parquet.name_of(int(pending.segment, 16), parquet.ANSWERS)
        try:
            tables.append(pq.read_table(path, columns=["offset", *columns], partitioning=None))
        except (OSError, ValueError) as fault:
            _check_gone(path, fault)
            gone = max(records - _feedback(path.parent, pending), 0)
            lost += gone
            if gone:
                log.warning("traffic.file_unread", path=str(path), records=gone, reason=str(fault))
    schema = pa.schema([parquet.schema(parquet.ANSWERS).field(name) for name in ("offset", *columns)])
    return _Found(pa.concat_tables([schema.empty_table(), *tables]).sort_by("offset"), lost)


def _check_gone(path: Path, fault: Exception) -> None:
    """Raise where the file may be read the next time: what is taken for lost once is in no window ever after.

    Arrow's own faults, of a torn file, have no number of the system's.
    """
    if isinstance(fault, OSError) and fault.errno not in (None, errno.ENOENT, errno.ENOTDIR):
        raise UnreachableError(
            f"{path} of the traffic log cannot be read now ({os.strerror(fault.errno)}). Nothing of it is taken for "
            "lost; it is tried again."
        ) from fault


def _feedback(hour: Path, pending: Pending) -> int:
    """Records of the hour that are no answers, as far as their file can be read."""
    import pyarrow.parquet as pq

    path = hour / parquet.name_of(int(pending.segment, 16), parquet.FEEDBACK)
    try:
        return int(pq.read_metadata(path).num_rows)
    except (OSError, ValueError):
        return 0


class Shape(NamedTuple):
    """What answers of a release look like."""

    labels: tuple[str, ...]
    width: int
    """Of embeddings."""


def sample(engine: Engine, settings: Settings, window: Window, shape: Shape) -> Sample:
    """The window's answers of its release, in their order. Those that went since it was cut are left out, and told."""
    return _sample(list(_rows(engine, settings, window, COLUMNS)), shape)


class Texts(NamedTuple):
    """What a window's answers say."""

    answers: list[tuple[str, str]]
    """Id and text, redacted and normalised, in their order."""
    gone: int
    """Answers that the log no longer has."""


def texts(engine: Engine, settings: Settings, window: Window) -> Texts:
    """The same answers' texts."""
    rows = _rows(engine, settings, window, ("id", "generation", "text"))
    answers = [(row["id"], row["text"]) for row in rows]
    return Texts(answers, window.rows - len(answers))


def _rows(engine: Engine, settings: Settings, window: Window, columns: Sequence[str]) -> Iterator[dict[str, Any]]:
    places = windows.segment_hours(engine, window.project, window)
    for part in window.parts:
        pending = places.get(part.segment)
        table = _read(settings.home / "traffic" / PARQUET / window.project, pending, columns).table if pending else None
        if pending is None or table is None or (pending.answers is not None and len(table) != pending.answers):
            log.warning(
                "traffic.rows_gone", project=window.project, window=window.number, segment=part.segment,
                records=part.end - part.first,
            )  # fmt: skip
            continue
        rows = table.slice(part.first, part.end - part.first).to_pylist()
        yield from (row for row in rows if row["generation"] == window.generation)


def _sample(rows: Sequence[dict[str, Any]], shape: Shape) -> Sample:
    labels = shape.labels
    fit = [row for row in rows if row["scores"] is not None and len(row["scores"]) == len(labels)]
    if len(fit) < len(rows):
        log.warning("traffic.other_scores", rows=len(rows) - len(fit), classes=len(labels))
    return Sample(
        embeddings=embeddings([_numbers(row["embedding"]) for row in fit], shape.width),
        scores=np.array([row["scores"] for row in fit], np.float64).reshape(len(fit), len(labels)),
        texts=[row["text"] for row in fit],
        labels=labels,
        truth=np.full(len(fit), UNLABELLED, np.int64),
        weights=np.ones(len(fit)),
        ids=[row["id"] for row in fit],
    )


def _numbers(blob: bytes | None) -> np.ndarray[Any, Any] | None:
    return None if blob is None else np.frombuffer(blob, EMBEDDING)


def embeddings(rows: Sequence[np.ndarray[Any, Any] | None], width: int) -> np.ndarray[Any, np.dtype[np.float32]]:
    """One a row; NaN where a row has none of this width."""
    found = np.full((len(rows), width), np.nan, np.float32)
    for place, row in enumerate(rows):
        if row is not None and len(row) == width:
            found[place] = row
    return found


def labelled(
    project: Project, settings: Settings, window: Window, counted: Counted | None, shape: Shape
) -> tuple[Sample, Marks]:
    """The answers of the window's release whose labels came until the window's end of labels, and marks of what came.

    They are mostly of earlier windows: labels come late. They count by how they were picked; complaints do not count,
    nor does a label that an earlier window has ``counted``.
    """
    until = window.labels_until
    found, marks = news(settings.home / "traffic", window.project, counted, until, shape.labels)
    ours = [one for one in found if one.answer.generation == window.generation]
    fair = without_complaints(ours, project, settings, until)
    if len(fair) < len(ours):
        log.info(
            "traffic.complaints_left_out", project=window.project, window=window.number, labels=len(ours) - len(fair)
        )
    return _labelled(fair, shape), marks


def _labelled(found: Sequence[Labelled], shape: Shape) -> Sample:
    from evertune.data.recent import weights

    labels = shape.labels
    fit = [one for one in found if len(one.answer.output.get("scores") or ()) == len(labels)]
    index = {label: place for place, label in enumerate(labels)}
    chances = np.array([np.nan if one.probability is None else one.probability for one in fit], np.float64)
    return Sample(
        embeddings=embeddings([one.answer.embedding for one in fit], shape.width),
        scores=np.array([one.answer.output["scores"] for one in fit], np.float64).reshape(len(fit), len(labels)),
        texts=[one.answer.text for one in fit],
        labels=labels,
        truth=np.array([index.get(one.label, UNLABELLED) for one in fit], np.int64),
        weights=weights(chances),
        ids=[one.prediction_id for one in fit],
    )
