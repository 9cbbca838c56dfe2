"""Valid rows as preparation reads them: in batches from Parquet, and what is decided on as arrays."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from evertune import files, text
from evertune.data import recent
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
    """Indices into :data:`evertune.data.split.SIDES`."""
    classes: npt.NDArray[np.int32]
    """Indices into ``labels``."""
    labels: list[str]
    traffic: Path | None = None
    """Labelled traffic: its rows are the last ones."""
    of_sources: int = 0
    """Rows of ``source``; all further ones are of ``traffic``."""

    @property
    def is_traffic(self) -> Mask:
        """Which rows are labelled traffic."""
        return np.arange(len(self.ids)) >= self.of_sources

    @property
    def precedence(self) -> npt.NDArray[np.int8]:
        """Of each row: where two near ones meet, that of the lower number stays."""
        return np.array(splitting.PRECEDENCE, dtype=np.int8)[self.splits]

    def numbered(self, columns: list[str] | None = None) -> Iterator[tuple[int, Any]]:
        """All rows in batches, each with the number of its first row: the sources' as if there were no others."""
        yield from numbered(self.source, columns)
        if self.traffic is not None:
            yield from ((self.of_sources + start, batch) for start, batch in numbered(self.traffic, columns))


def read(project: Project, source: Path, traffic: Path | None = None) -> Rows:
    """Read the rows' ids and classes, and give each its side. Traffic brings no class that the sources do not name."""
    split = project.preparation.split
    met: set[str] = set() if traffic is None else set(_groups(traffic))
    known: set[str] = set()

    def of_sources(batch: Any) -> list[int]:
        groups = batch["group"].to_pylist()
        known.update(met.intersection(groups))
        return [splitting.assign(group, split) for group in groups]

    def of_traffic(batch: Any) -> list[int]:
        groups, judged = batch["group"].to_pylist(), batch["traffic:judged"].to_pylist()
        return recent.sides(groups, judged, split, project.retraining, known)

    columns = ["row_id", "group", "target"]
    drawn = _read(source, columns, of_sources)
    labels = label_order(project, set(drawn.targets))
    parts = [drawn] if traffic is None else [drawn, _read(traffic, [*columns, "traffic:judged"], of_traffic)]
    if unknown := sorted({target for part in parts for target in part.targets} - set(labels)):
        raise UnfitError(f"Labelled traffic holds classes that the sources do not: {unknown[:5]}. Validate it again.")
    return Rows(
        source=source,
        ids=np.concatenate([part.ids for part in parts]),
        splits=np.concatenate([part.splits for part in parts]),
        classes=np.concatenate([part.classes(labels) for part in parts]),
        labels=labels,
        traffic=traffic,
        of_sources=len(drawn.ids),
    )


def _groups(traffic: Path) -> Iterator[str]:
    for batch in batches(traffic, ["group"]):
        yield from batch["group"].to_pylist()


class _Part(NamedTuple):
    """What is read of one file."""

    ids: npt.NDArray[np.bytes_]
    splits: npt.NDArray[np.int8]
    targets: dict[str, int]
    """Class → its number, in the order met."""
    codes: npt.NDArray[np.int64]

    def classes(self, labels: list[str]) -> npt.NDArray[np.int32]:
        return np.array([labels.index(label) for label in self.targets], dtype=np.int32)[self.codes]


def _read(source: Path, columns: list[str], side: Callable[[Any], Sequence[int]]) -> _Part:
    ids: list[npt.NDArray[np.bytes_]] = [np.empty(0, dtype="S64")]
    splits: list[npt.NDArray[np.int8]] = [np.empty(0, dtype=np.int8)]
    numbers: dict[str, int] = {}
    codes: list[npt.NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for batch in batches(source, columns):
        named = batch["row_id"].to_pylist()
        ids.append(np.array(named, dtype="S64"))
        splits.append(np.array(side(batch), dtype=np.int8))
        targets = [_only(target, row_id) for target, row_id in zip(batch["target"].to_pylist(), named, strict=True)]
        codes.append(np.array([numbers.setdefault(target, len(numbers)) for target in targets], dtype=np.int64))
    return _Part(np.concatenate(ids), np.concatenate(splits), numbers, np.concatenate(codes))


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
    """Row numbers, ascending, with one of each row id: by side, the sources' before traffic, then of the least content.

    Copies may differ in their source's id, group or time, and the order in which they were drawn must not matter.
    """
    import pyarrow as pa

    order = np.argsort(rows.ids, kind="stable")
    ids = rows.ids[order]
    same = ids[1:] == ids[:-1]
    copies = np.zeros(len(ids), dtype=bool)
    copies[order[1:][same]] = copies[order[:-1][same]] = True
    precedence, traffic = rows.precedence, rows.is_traffic
    best: dict[bytes, tuple[int, bool, str, int]] = {}
    for start, batch in rows.numbered() if copies.any() else ():
        some = np.flatnonzero(copies[start : start + len(batch)])
        for row, content in zip((start + some).tolist(), batch.take(pa.array(some)).to_pylist(), strict=True):
            rank = (int(precedence[row]), bool(traffic[row]), files.hash_of(content), row)
            held = best.get(rows.ids[row])
            best[rows.ids[row]] = rank if held is None else min(held, rank)
    chosen = np.array([row for *_, row in best.values()], dtype=np.int64)
    return np.sort(np.concatenate([np.flatnonzero(~copies), chosen]))


class Texts(Sequence[str]):
    """The normalised texts of some rows in Arrow buffers; as a list of Python strings they take twice as much."""

    def __init__(self, rows: Rows, some: Mask) -> None:
        import pyarrow as pa

        chunks = []
        for start, batch in rows.numbered(["text"]):
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
