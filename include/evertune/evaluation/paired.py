"""Answers of two or more models to the same test rows, side by side.

Comparing in pairs needs fewer rows for the same certainty than comparing two averages, because a row that is hard for
one model is hard for the other. Rows of one group (a document, a customer) are not independent of each other, so the
group travels along and is what the statistics count (arXiv 2411.00640, "Adding Error Bars to Evals").
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evertune import files
from evertune.records import UnfitError

if TYPE_CHECKING:
    import pyarrow as pa

RECENT = "recent.parquet"
"""The file of the pairs of recent traffic, beside that of the test rows."""
CHAMPION, MAJORITY, UNTUNED = "champion", "majority", "untuned"
OPPONENTS = (CHAMPION, MAJORITY, UNTUNED)
SLICE_PREFIX = "slice:"
"""Before the names of slice columns in the file, so that a user's column `champion` is not taken for a model."""
CLASS_SLICE, LENGTH_SLICE = "class", "length"
"""Slice columns that are always there: the row's own class, and short, medium or long."""
MOST_VALUES = 50
"""Values of a slice column that are looked at, the most frequent first: a column of free text is no set of slices."""

Probabilities = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Pairs:
    """What each model answered on each test row. All arrays have one entry a row, in the same order."""

    row_ids: Sequence[str]
    """The rows' identities, :func:`evertune.text.row_id`."""
    labels: tuple[str, ...]
    """Names of the classes, in the order of the probabilities."""
    truth: NDArray[np.int64]
    """Index of the right class."""
    challenger: Probabilities
    """``[rows, classes]``."""
    opponents: Mapping[str, Probabilities]
    """``champion`` where there is one, and the baselines ``majority`` and ``untuned``; each ``[rows, classes]``."""
    groups: NDArray[np.int64]
    """Number of the group that the row belongs to."""
    columns: Mapping[str, Sequence[str] | NDArray[Any]] = field(default_factory=dict)
    """Slice columns, such as ``length`` → short, medium or long."""
    min_slice_rows: int = 30
    """Slices with fewer rows judge nothing."""
    weights: NDArray[np.float64] | None = None
    """How heavily each row counts, 1 on average; ``None``: all alike."""
    recent: Pairs | None = None
    """The same models' answers to recent labelled traffic, where there is some to judge on."""

    def __len__(self) -> int:
        return len(self.truth)

    def slices(self) -> Iterator[tuple[str, NDArray[np.bool_]]]:
        """``column=value`` and its rows, for each value of each slice column."""
        for column, values in self.columns.items():
            names, codes, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
            for i in sorted(np.argsort(-counts, kind="stable")[:MOST_VALUES]):
                yield f"{column}={names[i]}", codes == i

    def swapped(self) -> Pairs:
        """The same rows with challenger and champion in each other's place."""
        others = {**self.opponents, CHAMPION: self.challenger}
        recent = None if self.recent is None else self.recent.swapped()
        return replace(self, challenger=self.opponents[CHAMPION], opponents=others, recent=recent)

    @property
    def effective_rows(self) -> float:
        """How many rows of equal weight would tell as much (Kish 1965)."""
        if self.weights is None:
            return float(len(self))
        return float(self.weights.sum() ** 2 / (self.weights**2).sum())


def number_groups(names: Sequence[str]) -> NDArray[np.int64]:
    """Group names as numbers from 0."""
    return np.unique(np.asarray(names, dtype=str), return_inverse=True)[1].astype(np.int64)


def write(pairs: Pairs, path: Path) -> None:
    """Write the pairs as Parquet, those of recent traffic beside them. The folder is sealed by the caller."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns: dict[str, Any] = {
        "row_id": pa.array(pairs.row_ids, pa.string()),
        "label_index": pa.array(pairs.truth, pa.int32()),
        "group": pa.array(pairs.groups, pa.int64()),
        "challenger": _lists(pairs.challenger),
    }
    for name in OPPONENTS:
        there = pairs.opponents.get(name)
        columns[name] = pa.nulls(len(pairs), pa.list_(pa.float32())) if there is None else _lists(there)
    if pairs.weights is not None:
        columns["weight"] = pa.array(pairs.weights, pa.float64())
    for name, values in pairs.columns.items():
        columns[SLICE_PREFIX + name] = pa.array(list(values), pa.string())
    facts = {"format": 1, "labels": list(pairs.labels), "min_slice_rows": pairs.min_slice_rows}
    table = pa.table(columns).replace_schema_metadata({"evertune": files.canonical(facts)})
    pq.write_table(table, path, compression="zstd")
    if pairs.recent is not None:
        write(pairs.recent, path.with_name(RECENT))


def _lists(probabilities: Probabilities) -> pa.Array:
    import pyarrow as pa

    rows, classes = probabilities.shape
    values = pa.array(np.ascontiguousarray(probabilities, np.float32).reshape(-1))
    return pa.ListArray.from_arrays(pa.array(np.arange(rows + 1, dtype=np.int32) * classes), values)


def load(path: Path) -> Pairs:
    """Read what :func:`write` wrote, with the pairs of recent traffic beside it.

    Where the folder is sealed it is verified first. Raises :class:`UnfitError` where the file is no pairs file.
    """
    if not path.is_file():
        raise UnfitError(f"There is no pairs file {path}. Run the judge step of this run again.")
    if (path.parent / files.MANIFEST).is_file():
        files.verify(path.parent)
    recent = path.with_name(RECENT)
    return replace(_read(path), recent=_read(recent) if recent.is_file() else None)


def _read(path: Path) -> Pairs:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(path)
        facts = json.loads((table.schema.metadata or {})[b"evertune"])
    except (pa.ArrowInvalid, KeyError, json.JSONDecodeError, OSError) as fault:
        raise UnfitError(f"{path} is no file of paired answers ({fault}). Run the judge step again.") from fault
    classes = len(facts["labels"])
    opponents = {name: _matrix(table, name, classes, path) for name in OPPONENTS if table[name].null_count == 0}
    return Pairs(
        row_ids=table["row_id"].to_pylist(),
        labels=tuple(facts["labels"]),
        truth=table["label_index"].to_numpy().astype(np.int64),
        challenger=_matrix(table, "challenger", classes, path),
        opponents=opponents,
        groups=table["group"].to_numpy(),
        columns={
            name.removeprefix(SLICE_PREFIX): table[name].to_pylist()
            for name in table.column_names
            if name.startswith(SLICE_PREFIX)
        },
        min_slice_rows=facts["min_slice_rows"],
        weights=table["weight"].to_numpy() if "weight" in table.column_names else None,
    )


def _matrix(table: pa.Table, name: str, classes: int, path: Path) -> Probabilities:
    flat = table[name].combine_chunks().flatten().to_numpy()
    if flat.size != table.num_rows * classes:
        raise UnfitError(f"{path}: column {name} does not hold {classes} probabilities a row. Judge again.")
    return np.asarray(flat.reshape(-1, classes), np.float32)
