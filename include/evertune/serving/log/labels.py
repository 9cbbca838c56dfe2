"""The labels that answers were given: one an answer, out of everything that was said of it.

An expert's label goes before an imported one, that before a correction; within one origin the newest counts. Thumbs and
comments are no labels. How an answer came to be labelled stays with it: one that was picked keeps its chance of that,
whoever labelled it in the end.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

import structlog

from evertune.files import CorruptError
from evertune.serving.log import codec, parquet, reading
from evertune.serving.log.drain import stored
from evertune.serving.log.frames import read
from evertune.serving.log.ids import Place, decode, hex_of, hour_of
from evertune.serving.log.nodes import SUFFIX, folders_of
from evertune.serving.log.records import Answer, Feedback, Origin, StoredAnswer, StoredFeedback

ORDER: tuple[Origin, ...] = ("expert", "import", "correction")
"""Whose label goes before whose."""
EVER = datetime(1970, 1, 2, tzinfo=UTC)
log = structlog.get_logger(__name__)


class Labelled(NamedTuple):
    """An answer and what it should have been."""

    prediction_id: str
    answer: Answer
    label: str
    """A name, which need not be a label that any release knows."""
    origin: Origin
    probability: float | None
    """Chance with which the answer was picked for labelling; ``None``: nobody picked it."""
    at: datetime
    """When this label was given."""


def labelled(
    traffic: Path, project: str, since: datetime | None, until: datetime, classes: Collection[str] = ()
) -> list[Labelled]:
    """The project's answers that were given a label from ``since`` to before ``until``, in the order of labelling.

    Each with the label that counts of all that were given before ``until``, those before ``since`` too. ``until``
    should lie some seconds back: a label is dated just before it is on the disk. ``classes``: which corrections are
    labels where a version before this kept them; later ones say so themselves. An answer that is gone (retention,
    damage) is left out.
    """
    since = EVER if since is None else since
    fresh = fresh_feedback(traffic, project)
    labels = labels_given(traffic, project, fresh, since, until, classes)
    said = all_said(traffic, project, fresh, {row.feedback.prediction_id for row in labels}, until)
    finals = {id_: one for id_, rows in said.items() if (one := final(rows, classes)) is not None}
    return with_answers(traffic, project, finals)


def with_answers(traffic: Path, project: str, finals: dict[str, Final]) -> list[Labelled]:
    """The answers with the labels that count, in the order of labelling; answers that are gone are left out."""
    answers = answers_of(traffic, project, finals)
    if missing := len(finals) - len(answers):
        log.warning("log.labelled_answers_gone", project=project, answers=missing)
    found = [_labelled(id_, answer, finals[id_]) for id_, answer in answers.items()]
    return sorted(found, key=lambda one: (one.at, one.prediction_id))


def _labelled(id_: str, answer: Answer, counts: Final) -> Labelled:
    return Labelled(id_, answer, counts.label, counts.said.origin, counts.probability, counts.said.at)


def answers_of(traffic: Path, project: str, ids: Collection[str]) -> dict[str, Answer]:
    """The project's answers of these ids; those that are gone, and ids that are none, are left out."""
    found: dict[str, Answer] = {}
    for segment, places in _by_segment(ids).items():
        found |= _answers(traffic, project, segment, places)
    return found


def labelled_ids(traffic: Path, project: str, ids: Collection[str], classes: Collection[str] = ()) -> set[str]:
    """Which of these answers have a label, whoever gave it."""
    said = _about(traffic, project, ids)
    return {row.feedback.prediction_id for row in said if label_of(row.feedback, classes) is not None}


def label_of(said: Feedback, classes: Collection[str] = ()) -> str | None:
    """The label that a feedback gives, if any: the truth, or a correction that names a class."""
    if said.truth is not None:
        return said.truth
    return said.label or (said.correction if said.correction in classes else None)


class Final(NamedTuple):
    """The label that counts."""

    label: str
    said: Feedback
    probability: float | None


def final(said: list[StoredFeedback], classes: Collection[str] = ()) -> Final | None:
    """Which label counts of all that was said of one answer."""
    labels = [one for one in said if label_of(one.feedback, classes) is not None]
    if not labels:
        return None
    ranked = sorted(labels, key=_rank, reverse=True)
    best = ranked[0].feedback
    chances = (one.feedback.probability for one in ranked)
    return Final(str(label_of(best, classes)), best, next((chance for chance in chances if chance is not None), None))


def _rank(one: StoredFeedback) -> tuple[int, datetime, int, int]:
    return (-ORDER.index(one.feedback.origin), one.feedback.at, one.segment, one.offset)


def fresh_feedback(traffic: Path, project: str) -> list[StoredFeedback]:
    """The project's feedback that has not been drained yet."""
    return [row for row in reading.feedback_in_segments(traffic) if row.feedback.project == project]


def labels_given(  # noqa: PLR0917 - where, and of what time
    traffic: Path,
    project: str,
    fresh: list[StoredFeedback],
    since: datetime,
    until: datetime,
    classes: Collection[str],
) -> Iterator[StoredFeedback]:
    """The labels that were given from ``since`` to before ``until``, some of them twice."""
    for row in _each(fresh, reading.drained_feedback(traffic, project, since)):
        if since <= row.feedback.at < until and label_of(row.feedback, classes) is not None:
            yield row


def all_said(
    traffic: Path, project: str, fresh: list[StoredFeedback], ids: Collection[str], until: datetime
) -> dict[str, list[StoredFeedback]]:
    """All that was said of these answers before ``until``."""
    said: dict[str, dict[str, StoredFeedback]] = defaultdict(dict)
    for row in _about(traffic, project, ids, fresh):
        if row.feedback.at < until:
            said[row.feedback.prediction_id][row.id] = row
    return {id_: list(rows.values()) for id_, rows in said.items()}


def _about(
    traffic: Path, project: str, ids: Collection[str], fresh: list[StoredFeedback] | None = None
) -> Iterator[StoredFeedback]:
    """All that was said of these answers, some of it twice. It lies with them, whenever it was said."""
    if fresh is None:
        fresh = fresh_feedback(traffic, project)
    hours = {hour_of(place.second) for id_ in ids if (place := decode(id_)) is not None}
    for row in _each(fresh, reading.feedback_in_hours(traffic, project, hours)):
        if row.feedback.prediction_id in ids:
            yield row


def _each(fresh: list[StoredFeedback], drained: Iterator[StoredFeedback]) -> Iterator[StoredFeedback]:
    yield from fresh
    yield from drained


def _by_segment(ids: Collection[str]) -> dict[int, dict[str, Place]]:
    found: dict[int, dict[str, Place]] = defaultdict(dict)
    for id_ in ids:
        if (place := decode(id_)) is not None:
            found[place.segment][id_] = place
    return found


def _answers(traffic: Path, project: str, segment: int, places: dict[str, Place]) -> dict[str, Answer]:
    """The project's answers of one segment. Looks into the segment first: what is drained meanwhile is in Parquet."""
    found = {row.id: row.answer for row in _in_segment(traffic, segment, places) if row.answer.project == project}
    for hour in {hour_of(place.second) for id_, place in places.items() if id_ not in found}:
        path = traffic / reading.PARQUET / project / hour / parquet.name_of(segment, parquet.ANSWERS)
        try:
            found |= {row.id: row.answer for row in _in_file(path, places)}
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as fault:
            log.warning("log.file_unread", path=str(path), reason=str(fault))
    return found


def _in_segment(traffic: Path, segment: int, wanted: Collection[str]) -> Iterator[StoredAnswer]:
    for folder in folders_of(traffic, segment):
        path = folder / f"{hex_of(segment)}{SUFFIX}"
        try:
            rows = [stored(segment, offset, codec.decode(payload)) for offset, payload in read(path).records]
        except FileNotFoundError:
            continue
        except (CorruptError, OSError, ValueError, TypeError) as fault:
            log.warning("log.segment_unread", path=str(path), reason=str(fault))
            continue
        yield from (row for row in rows if isinstance(row, StoredAnswer) and row.id in wanted)


def _in_file(path: Path, wanted: Collection[str]) -> Iterator[StoredAnswer]:
    import pyarrow.parquet as pq
    from pyarrow import compute

    ids: Any = list(wanted)
    table = pq.read_table(path, filters=compute.field("id").isin(ids), partitioning=None)
    for batch in table.to_batches(parquet.ROW_GROUP):
        yield from map(parquet.answer_of, batch.to_pylist())
