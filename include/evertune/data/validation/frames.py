"""The good rows as a frame that expectations can be asked of: their columns as text, numbers or dates.

A snapshot holds text alone. So what an expectation is about tells how its columns are read, and what its row condition
compares them with tells how that reads them, which may be another way.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evertune.data.validation.expectations import Condition, Named, View
from evertune.data.validation.facts import Facts, batches
from evertune.data.validation.labels import number
from evertune.data.validation.values import moment
from evertune.records import UnfitError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

TARGET = "target"
"""The class after the label rule: a column that expectations may name, though a snapshot does not have it."""


class Asked(NamedTuple):
    """What expectations of one view, or one with a condition, are asked of."""

    frame: pd.DataFrame
    """By row number; where there is a condition, those rows alone that meet it."""
    odd: dict[str, npt.NDArray[np.int64]]
    """Column read as numbers or dates → the rows whose value is none."""


class _Column(NamedTuple):
    values: pd.Series[Any]
    odd: npt.NDArray[np.int64]


def build(rows: Path, facts: Facts, good: npt.NDArray[np.bool_], asked: list[Named]) -> Asked:
    """The frame for expectations that are asked together (:func:`together`) of the good rows.

    Raises :class:`UnfitError` where a condition cannot be told of the rows.
    """
    import pandas as pd
    import pyarrow.parquet as pq

    schema = pq.read_schema(rows)
    first = asked[0]
    if first.view is View.SCHEMA:
        return Asked(schema.empty_table().to_pandas(), {})
    wanted = {column for one in asked for column in one.columns}
    read = wanted | set(first.condition.compared.columns if first.condition else ())
    frame = _read(rows, good, [name for name in schema.names if first.whole or name in read] or ["label"])
    if first.whole or TARGET in read:
        classes = np.array(facts.labels.classes, object)
        frame[TARGET] = pd.Series(classes[facts.labels.codes[good]], index=frame.index, dtype="str")
    if first.condition is not None:
        frame = _meeting(frame, first, first.condition)
    return _viewed(frame, first.view, sorted(wanted))


def together(one: Named) -> tuple[str, ...]:
    """What can be asked of one frame: one view; but what has a condition, or wants all columns, has one of its own."""
    alone = one.condition is not None or one.whole
    return (one.view, one.where.rstrip("]").rpartition("[")[2]) if alone else (one.view,)


def _read(rows: Path, good: npt.NDArray[np.bool_], names: list[str]) -> pd.DataFrame:
    import pandas as pd
    import pyarrow as pa

    parts, start = [], 0
    for batch in batches(rows, names):
        parts.append(batch.filter(pa.array(good[start : start + len(batch)])))
        start += len(batch)
    frame: pd.DataFrame = pa.Table.from_batches(parts).to_pandas(split_blocks=True, self_destruct=True)
    frame.index = pd.Index(np.flatnonzero(good))
    return frame


def _meeting(frame: pd.DataFrame, one: Named, condition: Condition) -> pd.DataFrame:
    """The rows that meet the condition of ``one``."""
    compared = condition.compared
    typed: dict[str, Any] = {}
    for name in compared.numbers:
        if (column := _numbers(frame[name])) is None:
            raise UnfitError(
                f"{one.where}: {one.kind}: its row_condition compares {name} with a number, and most values of {name} "
                "are none. Write what it is compared with in quotation marks, or name another column."
            )
        typed[name] = column.values
    for names in compared.alike:
        columns = {name: _numbers(frame[name]) for name in names - compared.texts}
        if len(columns) == len(names) and None not in columns.values():
            typed |= {name: column.values for name, column in columns.items() if column is not None}
    try:
        met = frame.assign(**typed).eval(condition.text, engine="python")
        meeting: pd.DataFrame = frame[_truth(met)]
    except Exception as fault:  # whatever pandas, or a method that the condition calls, makes of it
        told = " ".join(str(fault).split())[:300]
        raise UnfitError(f"{one.where}: {one.kind}: its row_condition cannot be asked: {told}") from fault
    return meeting


def _truth(met: Any) -> Any:
    import pandas as pd

    if not isinstance(met, pd.Series) or not pd.api.types.is_bool_dtype(met):
        raise TypeError("it is neither true nor false of a row")
    return met.fillna(False).astype(bool)


def _viewed(frame: pd.DataFrame, view: View, wanted: list[str]) -> Asked:
    if view is View.VALUES:
        return Asked(frame.astype(object), {})
    odd = {}
    for name in wanted:
        for reader in _READERS.get(view, ()):
            if (column := reader(frame[name])) is not None:
                frame[name], odd[name] = column
                break
    return Asked(frame, odd)


def _numbers(column: pd.Series[Any]) -> _Column | None:
    """The column as numbers, if most of its values are."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return _Column(column, np.zeros(0, np.int64))
    distinct = column.astype("category").cat
    parsed = np.array([*map(number, distinct.categories), np.nan], np.float64)
    return _most(column, pd.Series(parsed[distinct.codes], index=column.index))


def _dates(column: pd.Series[Any]) -> _Column | None:
    """The column as times in UTC, if most of its values are."""
    import pandas as pd

    if pd.api.types.is_numeric_dtype(column):
        return None
    distinct = column.astype("category").cat
    times = [moment(value) for value in distinct.categories]
    parsed = np.array([*(time and time.replace(tzinfo=None) for time in times), None], "datetime64[us]")
    return _most(column, pd.Series(parsed[distinct.codes], index=column.index).dt.tz_localize(UTC))


def _most(column: pd.Series[Any], parsed: pd.Series[Any]) -> _Column | None:
    odd = column.notna() & parsed.isna()
    if 2 * int(odd.sum()) > int(column.notna().sum()):
        return None
    return _Column(parsed, parsed.index[odd].to_numpy(np.int64))


_READERS: dict[View, tuple[Callable[[Any], _Column | None], ...]] = {
    View.NUMBERS: (_numbers,),
    View.DATES: (_dates,),
    View.ORDERED: (_numbers, _dates),
}
"""How the columns of a view are read: the first way in which most values can be, else as text."""
