"""Closed segments become Parquet, each record once, whenever the process is killed.

Three steps, each of which may be done again: the Parquet files (named after the segment, whole or not there), then the
note ``<segment>.drained`` that holds the ledger's row, then the segment goes. The row is told to the ledger from the
note, which goes behind it: while the ledger is away small notes wait, not segments. A reader that looks into segments
first and Parquet second misses nothing, and finds the same id at most twice while a segment is between the two.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import structlog
from pydantic import ValidationError

from evertune import files
from evertune.files import CorruptError
from evertune.ledger.segments import Segment
from evertune.serving.log import codec, parquet
from evertune.serving.log.codec import Logged
from evertune.serving.log.frames import HEADER_BYTES, Contents, NewerError, read
from evertune.serving.log.ids import Place, decode, hex_of, hour_of
from evertune.serving.log.nodes import segments
from evertune.serving.log.records import Answer, Feedback, StoredAnswer, StoredFeedback

NOTE = ".drained"
DAMAGED = ".damaged"
"""What has changed bytes is kept under this suffix, until the retention ends it, for somebody to look at."""
log = structlog.get_logger(__name__)


def drain(node: Path, to: Path, busy: Callable[[Path], bool]) -> int:
    """Drain the closed segments of a node that the caller holds; returns how many. ``busy``: it is being written."""
    done = 0
    for path in segments(node):
        if busy(path):
            continue
        try:
            done += _drain(path, to)
        except OSError:
            raise  # a full disk, say: the next segment would meet it too
        except Exception:  # a segment that cannot be drained stays, and must not hold up the others
            log.exception("log.segment_not_drained", path=str(path))
    return done


def _drain(path: Path, to: Path) -> bool:
    if path.stat().st_size < HEADER_BYTES:  # killed while it was begun: nothing in it was ever acknowledged
        _put_away(path, damaged=False)
        return True
    try:
        contents = read(path)
    except NewerError as fault:
        log.warning("log.segment_not_drained", path=str(path), reason=str(fault))
        return False
    except CorruptError as fault:
        log.critical("log.segment_lost", path=str(path), reason=str(fault))
        _put_away(path, damaged=True)
        return False
    groups, unread = _groups(contents)
    if unread or contents.damaged:
        log.error("log.records_damaged", path=str(path), bytes=contents.damaged, unread=unread)
    if groups or contents.damaged:
        files.write_json(path.with_suffix(NOTE), _move(path, contents, groups, to).model_dump(mode="json"))
    _put_away(path, damaged=bool(unread or contents.damaged))
    return True


def _put_away(path: Path, *, damaged: bool) -> None:
    if damaged:
        path.rename(path.with_suffix(DAMAGED))
    else:
        path.unlink()
    files.fsync(path.parent)


Groups = dict[tuple[str, str, str], list[int]]
"""Project, hour and kind → which of the segment's records."""


def _groups(contents: Contents) -> tuple[Groups, int]:
    """Where each record belongs, and how many could not be read though they are whole."""
    groups: Groups = defaultdict(list)
    unread = 0
    for number, (offset, payload) in enumerate(contents.records):
        if number % 16 == 0:
            time.sleep(0)  # requests are answered in the same process: let them go first
        try:
            logged = codec.decode(payload)
            groups[logged.record.project, _hour(logged), parquet.kind_of(logged.record)].append(number)
        except Exception:  # a record that nobody thought of must not hold up all others for ever
            log.exception("log.record_unread", segment=hex_of(contents.header.segment), offset=offset)
            unread += 1
    return groups, unread


def _hour(logged: Logged) -> str:
    """Feedback lies with the answer that it is about: both are found, and both go, together."""
    about = decode(logged.record.prediction_id) if isinstance(logged.record, Feedback) else None
    return hour_of(about.second if about else logged.second)


def stored(segment: int, offset: int, logged: Logged) -> StoredAnswer | StoredFeedback:
    """The record with its id."""
    id_ = Place(logged.second, segment, offset, logged.random).encode()
    if isinstance(logged.record, Answer):
        return StoredAnswer(id_, segment, offset, logged.record)
    return StoredFeedback(id_, segment, offset, logged.record)


def _rows(contents: Contents, numbers: list[int]) -> Iterator[StoredAnswer | StoredFeedback]:
    for count, number in enumerate(numbers):
        if count % 16 == 0:
            time.sleep(0)
        offset, payload = contents.records[number]
        yield stored(contents.header.segment, offset, codec.decode(payload))


def _move(path: Path, contents: Contents, groups: Groups, to: Path) -> Segment:
    """Write the Parquet files; returns the ledger's row."""
    hours: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for (project, hour, kind), numbers in sorted(groups.items()):
        rows = _rows(contents, numbers)
        parquet.write(to / project / hour / parquet.name_of(contents.header.segment, kind), kind, rows)
        hours[project][hour] += len(numbers)
    about = path.stat()
    return Segment(
        id=path.stem,
        node=path.parent.name,
        opened=datetime.fromtimestamp(contents.header.opened / 1e6, UTC),
        closed=datetime.fromtimestamp(about.st_mtime, UTC),
        records=sum(map(len, groups.values())),
        bytes=about.st_size,
        damaged=contents.damaged + contents.torn,
        hours={project: dict(counts) for project, counts in hours.items()},
        folder=str(to),
    )


def tell(node: Path, on_closed: Callable[[Segment], object] | None) -> int:
    """Hand the rows of drained segments over, oldest first; returns how many. What ``on_closed`` raises ends it.

    A note that cannot be read is put away: it would keep all that come behind it from the ledger, and so from the
    monitor, for ever.
    """
    told = 0
    for note in sorted(node.glob(f"*{NOTE}")):
        try:
            row = Segment.model_validate(files.read_json(note))
        except (CorruptError, ValidationError) as fault:
            log.critical("log.note_lost", path=str(note), reason=str(fault))
            note.rename(note.with_name(f"{note.name}{DAMAGED}"))
            continue
        if on_closed is not None:
            on_closed(row)
        note.unlink()
        told += 1
    return told
