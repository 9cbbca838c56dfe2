"""Finding records again: by id, by prediction, by time. No index: an id says where to look.

Everything here looks into the segments first and into Parquet second. A segment goes only after its Parquet files are
there, so what moves meanwhile is seen at least once; records that are seen twice have the same id.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Collection, Iterator
from datetime import datetime, timedelta
from heapq import heappush, heappushpop
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import structlog

from evertune.files import CorruptError
from evertune.serving.log import codec, parquet
from evertune.serving.log.drain import stored
from evertune.serving.log.frames import of_kind, read_at
from evertune.serving.log.ids import Place, decode, hex_of, hour_of
from evertune.serving.log.nodes import SUFFIX, TAG_BITS, folders, folders_of, segments
from evertune.serving.log.records import StoredAnswer, StoredFeedback

if TYPE_CHECKING:
    from pyarrow import dataset

PARQUET = "parquet"
MOST_SAID = 100
"""Feedback that is shown of one answer."""
LONGEST = timedelta(hours=1)
"""No segment is written to for longer."""
_HOUR = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}/[0-9]{2}")
log = structlog.get_logger(__name__)


def find(traffic: Path, id_: str, project: str | None = None) -> StoredAnswer | None:
    """The answer of this id; ``None`` for what is no id, whose record is gone, or which is another project's."""
    place = decode(id_)
    if place is None:
        return None
    found = _in_segments(traffic, place, id_) or _in_parquet(traffic, place, id_)
    return found if found is not None and project in (None, found.answer.project) else None


def _in_segments(traffic: Path, place: Place, id_: str) -> StoredAnswer | None:
    for folder in folders_of(traffic, place.segment):
        path = folder / f"{hex_of(place.segment)}{SUFFIX}"
        try:
            payload = read_at(path, place.offset)
            row = stored(place.segment, place.offset, codec.decode(payload)) if payload else None
        except FileNotFoundError:
            continue
        except (CorruptError, OSError, ValueError, TypeError) as fault:
            log.warning("log.record_unread", path=str(path), offset=place.offset, reason=str(fault))
            continue
        if payload is None:
            log.warning("log.no_whole_record", path=str(path), offset=place.offset)
        if isinstance(row, StoredAnswer) and hmac.compare_digest(row.id, id_):
            return row
    return None


def _in_parquet(traffic: Path, place: Place, id_: str) -> StoredAnswer | None:
    for project in projects(traffic):
        path = project / hour_of(place.second) / parquet.name_of(place.segment, parquet.ANSWERS)
        try:
            found = parquet.find(path, place, id_)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as fault:
            log.warning("log.file_unread", path=str(path), reason=str(fault))
            continue
        if found is not None:
            return found
    return None


class Said(NamedTuple):
    """What was said of an answer."""

    newest: list[StoredFeedback]
    """The last of it, oldest first."""
    total: int
    """How often something was said."""


def feedback_of(traffic: Path, id_: str, project: str | None = None, most: int = MOST_SAID) -> Said:
    """What was said of the answer. ``project``: whose it is, where that is known: fewer are read.

    What it costs does not grow with the log: it reads what has not been drained, and the feedback of one hour, file by
    file. No more than ``most`` are kept in memory: anybody with a key may say something of one answer without end.
    """
    place = decode(id_)
    if place is None:
        return Said([], 0)
    fresh = {row.id: row for row in feedback_in_segments(traffic) if row.feedback.prediction_id == id_}
    folders_ = projects(traffic) if project is None else [traffic / PARQUET / project]
    paths = [path for one in folders_ for path in _in_hour(one / hour_of(place.second), parquet.FEEDBACK)]
    drained = (row for path in paths for row in read_feedback([path], id_) if row.id not in fresh)
    newest: list[tuple[tuple[int, int, int], StoredFeedback]] = []
    total = 0
    for row in chain(fresh.values(), drained):
        total += 1
        (heappush if total <= most else heappushpop)(newest, (_age(row), row))
    return Said([row for _, row in sorted(newest)], total)


def read_feedback(paths: list[Path], id_: str | None = None) -> Iterator[StoredFeedback]:
    """The rows of these files, or those about one answer. A file that cannot be read is told and left out."""
    from pyarrow import compute

    about = None if id_ is None else compute.field("prediction_id") == id_
    try:
        table = _dataset(paths, parquet.FEEDBACK).to_table(filter=about)
    except (OSError, ValueError) as fault:
        if len(paths) > 1:  # find out which of them it is
            yield from (row for path in paths for row in read_feedback([path], id_))
        elif not isinstance(fault, FileNotFoundError):
            log.warning("log.file_unread", path=str(paths[0]), reason=str(fault))
        return
    for batch in table.to_batches(parquet.ROW_GROUP):
        yield from map(parquet.feedback_of, batch.to_pylist())


def _age(row: StoredFeedback) -> tuple[int, int, int]:
    place = decode(row.id)
    return (place.second if place else 0, row.segment, row.offset)


def feedback_in_segments(traffic: Path) -> Iterator[StoredFeedback]:
    """The feedback that has not been drained yet, of all servers."""
    for folder in folders(traffic):
        for path in segments(folder):
            try:
                header, found = of_kind(path, codec.FEEDBACK)
                rows = [stored(header.segment, offset, codec.decode(payload)) for offset, payload in found]
            except FileNotFoundError:
                continue  # drained meanwhile: it is in Parquet
            except (CorruptError, OSError, ValueError, TypeError) as fault:
                log.warning("log.segment_unread", path=str(path), reason=str(fault))
                continue
            yield from (row for row in rows if isinstance(row, StoredFeedback))


def recent_feedback(traffic: Path, project: str, since: datetime) -> Iterator[StoredFeedback]:
    """The project's feedback given from ``since`` on, oldest first, each once."""
    fresh = [row for row in feedback_in_segments(traffic) if row.feedback.project == project]
    seen = {row.id for row in fresh}
    yield from (row for row in drained_feedback(traffic, project, since) if row.id not in seen)
    yield from sorted((row for row in fresh if row.feedback.at >= since), key=_age)


def drained_feedback(traffic: Path, project: str, since: datetime) -> Iterator[StoredFeedback]:
    """What of it is in Parquet, oldest first. Look at :func:`feedback_in_segments` before."""
    # Feedback lies in the hours of answers; when it was given, the numbers of the segments tell.
    first = int((since - LONGEST).timestamp() * 100) << TAG_BITS
    paths = _files(traffic / PARQUET / project, parquet.FEEDBACK)
    recent = (path for path in paths if path.name >= hex_of(max(first, 0)))
    for _, some in groupby(recent, lambda path: path.name):
        rows = sorted(read_feedback(list(some)), key=_age)
        yield from (row for row in rows if row.feedback.at >= since)


def feedback_in_hours(traffic: Path, project: str, wanted: Collection[str]) -> Iterator[StoredFeedback]:
    """The feedback in Parquet about the project's answers of these hours. Look at the segments before."""
    for hour in sorted(wanted):
        yield from read_feedback(_in_hour(traffic / PARQUET / project / hour, parquet.FEEDBACK))


def traffic(home: Path, project: str, since: datetime, until: datetime) -> dataset.Dataset:
    """The project's drained answers given from ``since`` to before ``until``, in the order of segments.

    Columns as in :func:`evertune.serving.log.parquet.schema`; ``parquet.embeddings`` gives those as a matrix.
    """
    from pyarrow import compute, scalar, timestamp

    moment = timestamp("us", "UTC")
    answered = compute.field("answered")
    # A record's hour is that of its writing, which comes after the answer.
    paths = _files(
        home / "traffic" / PARQUET / project, parquet.ANSWERS, _hour(since), _hour(until + timedelta(hours=1))
    )
    between = (answered >= scalar(since, moment)) & (answered < scalar(until, moment))
    return _dataset(paths, parquet.ANSWERS).filter(between)


def projects(traffic: Path) -> list[Path]:
    """The folders of all projects, in order."""
    root = traffic / PARQUET
    return sorted(path for path in root.iterdir() if path.is_dir()) if root.is_dir() else []


def hours(project: Path) -> list[tuple[str, Path]]:
    """The hours of a project's folder, in order."""
    found = ((f"{path.parent.name}/{path.name}", path) for path in project.glob("*/*"))
    return sorted((hour, path) for hour, path in found if _HOUR.fullmatch(hour))


def _hour(moment: datetime) -> str:
    return hour_of(int(moment.timestamp()))


def _files(project: Path, kind: str, first: str = "", last: str = "9999-12-31/23") -> list[Path]:
    """The project's files of these hours, in the order of segments, and so of time."""
    found = [path for hour, folder in hours(project) if first <= hour <= last for path in _in_hour(folder, kind)]
    return sorted(found, key=lambda path: (path.name, path.parent.parent.name, path.parent.name))


def _in_hour(folder: Path, kind: str) -> list[Path]:
    """The hour's files, in the order of segments."""
    return sorted(path for path in folder.glob(f"*.{kind}.parquet") if not path.name.startswith("."))


def answer_files(traffic: Path, project: str) -> list[Path]:
    """The files of the project's drained answers, in the order of segments, and so of time."""
    return _files(traffic / PARQUET / project, parquet.ANSWERS)


def _dataset(paths: list[Path], kind: str) -> dataset.Dataset:
    from pyarrow import dataset

    if not paths:
        return dataset.dataset([], schema=parquet.schema(kind))
    return dataset.dataset([str(path) for path in paths], schema=parquet.schema(kind), format="parquet")
