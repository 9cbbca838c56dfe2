"""From facts to findings in three rounds: evertune's own checks, the project's on each value, those on columns.

Each round asks only the rows that are still good after the one before, because a poisoned row must be able to send
itself to quarantine, never to stop the batch: one 9,999 among the scores would else break every bound on their mean.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.data.validation import frames
from evertune.data.validation.checks import built_in, shorten
from evertune.data.validation.engine import Engine, Judged
from evertune.data.validation.expectations import Named, View
from evertune.data.validation.facts import Facts
from evertune.data.validation.findings import Finding, Findings
from evertune.data.validation.frames import Asked
from evertune.data.validation.table import KEY, TABLE, see_room, table
from evertune.project.options import Project
from evertune.records import UnfitError

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

OWN = "evertune"


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

    def found(unmet: Iterable[str] = (), notes: Iterable[str] = ()) -> Findings:
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
            tuple(notes),
        )

    stage = _Rounds(rows, facts, engine, scratch)
    values = stage.ask([n for n in named if n.per_value], found().good, "values")
    for one, answer in values:
        if answer.rows is not None:
            bad.append(Finding(one.kind, answer.rows, answer.values.__getitem__))
    answers = values + stage.ask([n for n in named if not n.per_value], found().good, "columns")
    unmet = [_unmet(one, answer) for one, answer in answers if answer.rows is None and not answer.success]
    notes = [_unasked(one) for one, answer in answers if answer.success and answer.of_none and not one.counts]
    return found(unmet, notes)


def _unmet(one: Named, answer: _Answer) -> str:
    none = "no row meets its row_condition; " if answer.of_none else ""
    return f"{one.where}: {one.kind}, but {none}{shorten(answer.observed, 200)[1:-1]}"


def _unasked(one: Named) -> str:
    return (
        f"{one.where}: {one.kind}: no row meets its row_condition, so it says nothing of any. See that the condition "
        "writes what it compares with as the column holds it, texts in quotation marks and numbers without."
    )


@dataclass(frozen=True)
class _Answer:
    success: bool
    observed: str
    rows: npt.NDArray[np.int64] | None
    values: dict[int, str]
    """Row number → what was seen there."""
    of_none: bool
    """Whether no row meets its condition."""


@dataclass(frozen=True)
class _Rounds:
    rows: Path
    facts: Facts
    engine: Engine
    scratch: Path

    def ask(self, named: list[Named], good: npt.NDArray[np.bool_], about: str) -> list[tuple[Named, _Answer]]:
        """Ask the good rows, in frames with the columns that are named and, without need, no others."""
        answers = []
        for key in sorted({frames.together(one) for one in named}):
            some = [one for one in named if frames.together(one) == key]
            if good.any():
                asked = frames.build(self.rows, self.facts, good, some)
                results = self._judge("-".join(("project", about, *key)), some, asked.frame)
                answers += [(one, _answer(one, result, asked)) for one, result in zip(some, results, strict=True)]
        return answers

    def _judge(self, name: str, asked: list[Named], frame: pd.DataFrame) -> list[Judged]:
        expectations = [one.expectation for one in asked]
        if asked[0].view is not View.SQL:
            return self.engine.judge(name, frame, expectations)
        with table(frame, self.scratch, name) as database:
            judged = self.engine.judge_sql(name, database, TABLE, KEY, expectations)
        for one in judged:
            see_room(one.error, self.scratch.parent)
        return judged


def _answer(one: Named, result: Judged, asked: Asked) -> _Answer:
    of_none = one.condition is not None and asked.frame.empty
    if result.error is not None:
        none = "no row meets its row_condition; " if of_none else ""
        raise UnfitError(
            f"{one.where}: {one.kind} could not be judged: {none}{result.error.rstrip(' .')}. "
            "Look at its arguments, and whether the column holds what it is about (numbers, dates, text)."
        )
    if result.rows is None or not one.per_value:
        return _Answer(result.success, result.observed, None, {}, of_none)
    columns = [column for column in one.columns if column in asked.frame] or list(asked.frame.columns[:1])
    strange = np.unique(np.concatenate([np.zeros(0, np.int64), *(asked.odd.get(column, ()) for column in columns)]))
    rows = np.union1d(result.rows, strange).astype(np.int64)
    seen = asked.frame.loc[rows, columns]
    values = {
        int(row): ", ".join(f"{c} is {_value(v)}" for c, v in zip(columns, entry, strict=True))
        for row, entry in zip(rows, seen.itertuples(index=False), strict=True)
    }
    return _Answer(not len(rows), result.observed, rows, values, of_none)


def _value(value: Any) -> str:
    if value is None or value != value:  # noqa: PLR0124 (NaN is what differs from itself)
        return "no value of this kind"
    if isinstance(value, datetime):
        return value.isoformat()
    return f"{value:g}" if isinstance(value, float) else shorten(value)
