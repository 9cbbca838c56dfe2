"""Labelled traffic: frozen for a run, counted for the policy, and cleared of complaints for whoever judges by it.

What was labelled up to a moment becomes a file that the run's pins name.

Of one text the most trusted label counts, and within one origin the newest: an expert's word on a text is not put in
doubt by a correction of the same text elsewhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evertune.project import Project
from evertune.records import Record, Window
from evertune.settings import Settings
from evertune.text import row_id

if TYPE_CHECKING:
    from evertune.data.labelled import LabelledRow
    from evertune.serving.log.labels import Labelled

SETTLED = timedelta(seconds=5)
"""Labels younger than this wait for the next run: one is dated just before it is on the disk."""
FEWEST_CONFIRMATIONS = 0.1
"""Share of the unasked labels that must agree with the answer, or they are taken for complaints: who only reports wrong
answers makes every other model look better on what was reported."""


class Frozen(Record):
    """Labels that a run learns from."""

    watermark: str
    """SHA-256 of the file."""
    rows: int
    judged: int
    """Rows that a model may be judged on."""
    since: datetime
    until: datetime
    """Labels given from ``since`` to before this are in it."""


class Usable(NamedTuple):
    """Labelled texts that a retrain can use, each once."""

    rows: int
    judged: float
    """Of these, what a model would be judged on, as rows of equal weight."""
    groups: int
    """Documents, customers or, where there are none, texts that those to judge on belong to."""


def freeze(project: Project, settings: Settings, now: datetime | None = None) -> Frozen | None:
    """Write the project's labels of the last ``retraining.days`` to a file; ``None`` where there are none."""
    from evertune.data import labelled as store

    until = (now or datetime.now(UTC)) - SETTLED
    since = until - timedelta(days=project.retraining.days)
    rows = _rows(_counting(project, settings, until))
    if not rows:
        return None
    watermark = store.write(rows, settings, project.slug)
    judged = sum(row.judged for row in rows)
    return Frozen(watermark=watermark, rows=len(rows), judged=judged, since=since, until=until)


def usable(project: Project, settings: Settings, window: Window, classes: Sequence[str], now: datetime) -> Usable:
    """What a retrain could use of the labels of the window's release, from the window on, by the database's ``now``.

    As the run that it starts will count them: no complaints, no label that is none of ``classes``, and the same sides.
    But which documents the sources have too is known only when they are drawn: here they count as if they had none.
    """
    from evertune.data import recent
    from evertune.data.split import RECENT

    texts = {
        row.text: row
        for row in _rows(_counting(project, settings, now - SETTLED))
        if row.judged and row.label in classes
        if row.generation == window.generation and row.answered >= window.since
    }
    groups = [row.group or row_id(text) for text, row in texts.items()]
    sides = recent.sides(groups, [True] * len(groups), project.preparation.split, project.retraining, frozenset())
    judged = [
        (row.probability, group)
        for row, group, side in zip(texts.values(), groups, sides, strict=True)
        if side == RECENT
    ]
    weights = recent.weights(np.array([np.nan if chance is None else chance for chance, _ in judged], np.float64))
    return Usable(len(texts), recent.effective(weights), len({group for _, group in judged}))


def without_complaints(
    found: Sequence[Labelled], project: Project, settings: Settings, until: datetime
) -> Sequence[Labelled]:
    """Without the unasked labels, where those of the last ``retraining.days`` are complaints: as a run would judge."""
    if not any(map(_unasked, found)) or not complaints(_counting(project, settings, until)):
        return found
    return [one for one in found if not _unasked(one)]


def _counting(project: Project, settings: Settings, until: datetime) -> list[Labelled]:
    from evertune.serving.log import labels

    since = until - timedelta(days=project.retraining.days)
    return agreed(labels.labelled(settings.home / "traffic", project.slug, since, until, _classes(project)))


def _classes(project: Project) -> tuple[str, ...]:
    rule = project.data.label
    return rule.classes or tuple(dict.fromkeys(cut.label for cut in rule.cuts or ()))


def agreed(found: Sequence[Labelled]) -> list[Labelled]:
    """Those whose label is the one that counts for their text."""
    from evertune.serving.log.labels import ORDER

    counts: dict[str, Labelled] = {}
    for one in sorted(found, key=lambda one: (-ORDER.index(one.origin), one.at, one.prediction_id)):
        counts[one.answer.text] = one
    return [one for one in found if one.label == counts[one.answer.text].label]


def _rows(found: Sequence[Labelled]) -> list[LabelledRow]:
    from evertune.data.labelled import LabelledRow

    only_complaints = complaints(found)
    return [
        LabelledRow(
            prediction_id=one.prediction_id,
            text=one.answer.text,
            label=one.label,
            group=one.answer.group,
            origin=one.origin,
            probability=one.probability,
            judged=not (only_complaints and _unasked(one)),
            generation=one.answer.generation,
            answered=one.answer.answered,
        )
        for one in found
    ]


def complaints(found: Sequence[Labelled]) -> bool:
    """Whether the labels that nobody asked for hardly ever agree with the answer."""
    unasked = [one for one in found if _unasked(one)]
    agree = sum(one.label == one.answer.output.get("label") for one in unasked)
    return agree < FEWEST_CONFIRMATIONS * len(unasked)


def _unasked(one: Labelled) -> bool:
    return one.origin == "correction" and one.probability is None
