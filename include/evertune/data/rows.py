"""Valid rows as preparation reads them: in batches from Parquet, and what is decided on as arrays."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from evertune import files, text
from evertune.data import split as splitting
from evertune.project import Project
from evertune.records import UnfitError

BATCH = 10_000
"""Rows read, tokenised and written at once."""

Mask = npt.NDArray[np.bool_]
Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Rows:
    """What is decided on, one value a row, in the order drawn."""

    source: Path
    """The Parquet file they come from."""
    ids: npt.NDArray[np.bytes_]
    splits: npt.NDArray[np.int8]
    """Indices into :data:`evertune.data.split.SPLITS`."""
    classes: npt.NDArray[np.int32]
    """Indices into ``labels``."""
    labels: list[str]


def read(project: Project, source: Path) -> Rows:
    """Read the rows' ids and classes, and give each its side."""
    ids: list[npt.NDArray[np.bytes_]] = [np.empty(0, dtype="S64")]
    splits: list[npt.NDArray[np.int8]] = [np.empty(0, dtype=np.int8)]
    numbers: dict[str, int] = {}
    codes: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for batch in batches(source, ["row_id", "group", "target"]):
        named = batch["row_id"].to_pylist()
        ids.append(np.array(named, dtype="S64"))
        sides = [splitting.assign(group, project.preparation.split) for group in batch["group"].to_pylist()]
        splits.append(np.array(sides, dtype=np.int8))
        targets = [_only(target, row_id) for target, row_id in zip(batch["target"].to_pylist(), named, strict=True)]
        codes.append(np.array([numbers.setdefault(target, len(numbers)) for target in targets], dtype=np.int64))
    labels = label_order(project, set(numbers))
    renumbered = np.array([labels.index(label) for label in numbers], dtype=np.int32)
    classes = renumbered[np.concatenate(codes)]
    return Rows(source, np.concatenate(ids), np.concatenate(splits), classes, labels)


def _only(target: list[str], row_id: str) -> str:
    if len(target) != 1:
        raise UnfitError(f"Row {row_id} has {len(target)} classes; sequence classification takes exactly one a row.")
    return target[0]


def label_order(project: Project, seen: set[str]) -> list[str]:
    """Classes in the order of their numbers: as the label rule names them, else sorted."""
    rule = project.data.label
    named = rule.classes if rule.classes is not None else tuple(cut.label for cut in rule.cuts or ())
    labels = list(dict.fromkeys(named)) or sorted(seen)
    if unknown := sorted(seen - set(labels)):
        raise UnfitError(f"Valid rows hold classes that data.label does not name: {unknown[:5]}. Validate them again.")
    if len(labels) < 2:
        raise UnfitError(f"All rows are of one class ({', '.join(labels) or 'none'}): there is nothing to learn.")
    return labels


def first_of_each(rows: Rows) -> Indices:
    """Row numbers, ascending, with one of each row id: of the first split, then of the least content.

    Copies may differ in their source's id, group or time, and the order in which they were drawn must not matter.
    """
    import pyarrow as pa

    order = np.argsort(rows.ids, kind="stable")
    ids = rows.ids[order]
    same = ids[1:] == ids[:-1]
    copies = np.zeros(len(ids), dtype=bool)
    copies[order[1:][same]] = copies[order[:-1][same]] = True
    best: dict[bytes, tuple[int, str, int]] = {}
    for start, batch in numbered(rows.source) if copies.any() else ():
        some = np.flatnonzero(copies[start : start + len(batch)])
        for row, content in zip((start + some).tolist(), batch.take(pa.array(some)).to_pylist(), strict=True):
            rank = (int(rows.splits[row]), files.hash_of(content), row)
            held = best.get(rows.ids[row])
            best[rows.ids[row]] = rank if held is None else min(held, rank)
    chosen = np.array([row for _, _, row in best.values()], dtype=np.int64)
    return np.sort(np.concatenate([np.flatnonzero(~copies), chosen]))


class Texts(Sequence[str]):
    """The normalised texts of some rows in Arrow buffers; as a list of Python strings they take twice as much."""

    def __init__(self, rows: Rows, some: Mask) -> None:
        import pyarrow as pa

        chunks = []
        for start, batch in numbered(rows.source, ["text"]):
            chosen = batch["text"].filter(pa.array(some[start : start + len(batch)])).to_pylist()
            chunks.append(pa.array(map(text.normalise, chosen), type=pa.string(), size=len(chosen)))
        self._array: Any = pa.chunked_array(chunks, type=pa.string())

    def __len__(self) -> int:
        return len(self._array)

    def __getitem__(self, index: Any) -> Any:
        return self._array[index].as_py()

    def __iter__(self) -> Iterator[str]:
        for start in range(0, len(self), BATCH):
            yield from self._array.slice(start, BATCH).to_pylist()


def batches(source: Path, columns: list[str] | None = None) -> Iterator[Any]:
    """The file's rows as Arrow record batches of at most :data:`BATCH` rows, one in memory at a time."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(source) as file:
        yield from file.iter_batches(batch_size=BATCH, columns=columns, use_threads=False)


def numbered(source: Path, columns: list[str] | None = None) -> Iterator[tuple[int, Any]]:
    """Like :func:`batches`, each with the number of its first row."""
    start = 0
    for batch in batches(source, columns):
        yield start, batch
        start += len(batch)
