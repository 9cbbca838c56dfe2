"""From facts to findings in three rounds: evertune's own checks, the project's on each value, those on columns.

Each round asks only the rows that are still good after the one before, because a poisoned row must be able to send
itself to quarantine, never to stop the batch: one 9,999 among the scores would else break every bound on their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.data.validation.checks import built_in, shorten
from evertune.data.validation.engine import Engine, Judged
from evertune.data.validation.expectations import Named, View
from evertune.data.validation.facts import Facts, batches
from evertune.data.validation.findings import Finding, Findings
from evertune.data.validation.labels import number
from evertune.data.validation.table import KEY, TABLE, see_room, table
from evertune.project.options import Project
from evertune.records import UnfitError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

OWN = "evertune"
TARGET = "target"
"""The class after the label rule: a column that expectations may name, though a snapshot does not have it."""


def judge(  # noqa: PLR0917
    project: Project, rows: Path, facts: Facts, named: list[Named], engine: Engine, scratch: Path
) -> Findings:
    """Judge the snapshot's rows. Raises :class:`UnfitError` where an expectation cannot be judged at all.

    ``scratch`` is a folder that is not there, for what is needed meanwhile; nothing of it stays.
    """
    checks = built_in(project, facts)
    results = engine.judge(OWN, facts.frame(), [check.expectation for check in checks])
    bad = []
    for check, result in zip(checks, results, strict=True):
        if result.error is not None or result.rows is None:
            raise UnfitError(f"The check for {check.kind} could not be made: {result.error or result.observed}.")
        if check.quarantines:
            bad.append(Finding(check.kind, result.rows, check.tell))

    def found(unmet: Iterable[str] = ()) -> Findings:
        labels = facts.labels
        return Findings(
            len(facts),
            tuple(bad),
            labels.ambiguous,
            labels.codes,
            labels.classes,
            facts.copy,
            lambda row: shorten(facts.excerpt[row].as_py() or ""),
            tuple(unmet),
        )

    stage = _Rounds(rows, facts, engine, scratch)
    unmet = []
    for one, answer in stage.ask([n for n in named if n.per_value], found().good, "values"):
        if answer.rows is not None:
            bad.append(Finding(one.kind, answer.rows, answer.values.__getitem__))
        elif not answer.success:  # such as a type, that a column has as a whole
            unmet.append(_unmet(one, answer.observed))
    rest = stage.ask([n for n in named if not n.per_value], found().good, "columns")
    return found([*unmet, *(_unmet(one, answer.observed) for one, answer in rest if not answer.success)])


def _unmet(one: Named, observed: str) -> str:
    return f"{one.where}: {one.kind}, but {shorten(observed, 200)[1:-1]}"


@dataclass(frozen=True)
class _Answer:
    success: bool
    observed: str
    rows: npt.NDArray[np.int64] | None
    values: dict[int, str]
    """Row number → what was seen there."""


@dataclass(frozen=True)
class _Rounds:
    rows: Path
    facts: Facts
    engine: Engine
    scratch: Path

    def ask(self, named: list[Named], good: npt.NDArray[np.bool_], about: str) -> list[tuple[Named, _Answer]]:
        """Ask the good rows, in frames with the columns that are named and, without need, no others."""
        answers = []
        for key in sorted({_together(one) for one in named}):
            asked = [one for one in named if _together(one) == key]
            if good.any():
                frame, odd = self._frame(asked, good)
                results = self._judge("-".join(("project", about, *key)), asked, frame)
                answers += [(one, _answer(one, result, frame, odd)) for one, result in zip(asked, results, strict=True)]
        return answers

    def _frame(
        self, asked: list[Named], good: npt.NDArray[np.bool_]
    ) -> tuple[pd.DataFrame, dict[str, npt.NDArray[np.int64]]]:
        """The good rows' columns, by row number; and for each column read as numbers, the rows that hold none."""
        import pandas as pd
        import pyarrow as pa
        import pyarrow.parquet as pq

        schema = pq.read_schema(self.rows)
        view, conditional = asked[0].view, asked[0].conditional
        if view is View.SCHEMA:
            return schema.empty_table().to_pandas(), {}
        wanted = {column for one in asked for column in one.columns}
        names = [name for name in schema.names if conditional or name in wanted] or ["label"]
        parts, start = [], 0
        for batch in batches(self.rows, names):
            parts.append(batch.filter(pa.array(good[start : start + len(batch)])))
            start += len(batch)
        frame = pa.Table.from_batches(parts).to_pandas(split_blocks=True, self_destruct=True)
        frame.index = pd.Index(np.flatnonzero(good))
        if conditional or TARGET in wanted:
            classes = np.array(self.facts.labels.classes, object)
            frame[TARGET] = pd.Series(classes[self.facts.labels.codes[good]], index=frame.index, dtype="str")
        if view is View.VALUES:
            frame = frame.astype(object)
        odd = {name: _to_numbers(frame, name) for name in sorted(wanted)} if view is View.NUMBERS else {}
        return frame, odd

    def _judge(self, name: str, asked: list[Named], frame: pd.DataFrame) -> list[Judged]:
        expectations = [one.expectation for one in asked]
        if asked[0].view is not View.SQL:
            return self.engine.judge(name, frame, expectations)
        with table(frame, self.scratch, name) as database:
            judged = self.engine.judge_sql(name, database, TABLE, KEY, expectations)
        for one in judged:
            see_room(one.error, self.scratch.parent)
        return judged


def _together(one: Named) -> tuple[str, ...]:
    """What can be asked of one frame: one view; but a condition reads as text what others may read as numbers."""
    return (one.view, one.where.rstrip("]").rpartition("[")[2]) if one.conditional else (one.view,)


def _to_numbers(frame: pd.DataFrame, name: str) -> npt.NDArray[np.int64]:
    """Read the column as numbers, if most of its values are; return the rows whose value is none."""
    import pandas as pd

    column = frame[name]
    if pd.api.types.is_numeric_dtype(column):
        return np.zeros(0, np.int64)
    distinct = column.astype("category").cat
    parsed = np.array([*map(number, distinct.categories), np.nan], np.float64)
    numbers = pd.Series(parsed[distinct.codes], index=frame.index)
    odd = column.notna() & numbers.isna()
    if 2 * int(odd.sum()) > int(column.notna().sum()):
        return np.zeros(0, np.int64)
    frame[name] = numbers
    return frame.index[odd].to_numpy(np.int64)


def _answer(one: Named, result: Judged, frame: pd.DataFrame, odd: dict[str, npt.NDArray[np.int64]]) -> _Answer:
    if result.error is not None:
        raise UnfitError(
            f"{one.where}: {one.kind} could not be judged: {result.error} "
            "Look at its arguments, and whether the column holds what it is about (numbers, dates, text)."
        )
    if result.rows is None or not one.per_value:
        return _Answer(result.success, result.observed, None, {})
    columns = [column for column in one.columns if column in frame] or list(frame.columns[:1])
    strange = np.unique(np.concatenate([np.zeros(0, np.int64), *(odd.get(column, ()) for column in columns)]))
    rows = np.union1d(result.rows, strange).astype(np.int64)
    seen = frame.loc[rows, columns]
    values = {
        int(row): ", ".join(f"{c} is {_value(v)}" for c, v in zip(columns, entry, strict=True))
        for row, entry in zip(rows, seen.itertuples(index=False), strict=True)
    }
    return _Answer(not len(rows), result.observed, rows, values)


def _value(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN is what differs from itself)
        return "no value of this kind"
    return f"{value:g}" if isinstance(value, float) else shorten(value)
