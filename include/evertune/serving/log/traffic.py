"""The traffic log as the server uses it: append, find, drain, keep for a while."""

from __future__ import annotations

import asyncio
import contextlib
import re
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path

import structlog

from evertune.ledger.segments import Segment
from evertune.project.block import SLUG
from evertune.project.slugs import LONGEST
from evertune.serving.log import codec, nodes, reading, retention
from evertune.serving.log.drain import drain, tell
from evertune.serving.log.elsewhere import Elsewhere
from evertune.serving.log.ids import Place
from evertune.serving.log.records import Answer, Feedback, LogError, StoredAnswer, StoredFeedback
from evertune.serving.log.writer import Counts, Writer

DRAIN_S = 5.0
"""Seconds between two looks for something to drain or to tell, beside those that a closed segment asks for."""
END_S = 10.0
"""Seconds that an end waits for the last drain: a ledger that hangs does not hold it up, and the next start drains."""
CARE_S = 600.0
"""Seconds between two looks after the retention and after what servers left that are gone."""
_SLUG = re.compile(SLUG)
log = structlog.get_logger(__name__)


class TrafficLog:
    """One server's log, below ``<home>/traffic``. Other servers of the home have theirs beside it."""

    def __init__(
        self,
        home: Path,
        *,
        on_closed: Callable[[Segment], object] | None = None,
        segment_bytes: int = 16 << 20,
        segment_s: float = 60,
        days: int | Callable[[str], int | None] = retention.DAYS,
        on_pruned: Callable[[Mapping[str, datetime]], object] | None = None,
        clock: Callable[[], float] = time.time,
        others_clock: Callable[[], datetime] | None = None,
    ) -> None:
        """``on_closed`` is told each drained segment, in the drainer's thread, until it does not raise.

        What a server left that was killed is drained first. ``days``: how long traffic is kept; of every project, or
        of the one of that slug, where ``None`` is not known yet. ``on_pruned`` is told since when each is kept, now
        and then; what it raises is told and borne. ``others_clock``: nothing is removed before it is old by this one
        too, for this machine's may have jumped ahead; while it raises, that is not known.
        """
        self.folder = home / "traffic"
        self._on_closed = on_closed
        self._days = days if callable(days) else lambda _project: days
        self._on_pruned = on_pruned
        self._clock = clock
        self._others_clock = others_clock
        self._node = nodes.claim(self.folder)
        self._wake = threading.Event()
        self._ended = threading.Event()
        self._draining = threading.Lock()
        self._writer = Writer(
            self._node,
            segment_bytes=segment_bytes,
            segment_s=min(segment_s, reading.LONGEST.total_seconds()),
            on_closed=self._wake.set,
            clock=clock,
        )
        self._drainer = threading.Thread(target=self._drain_on, name="evertune-drain", daemon=True)
        self._drainer.start()

    @property
    def node(self) -> str:
        """This server's name: that of its folder, the same after a restart."""
        return self._node.folder.name

    @property
    def counts(self) -> Counts:
        """What was written since the start, for metrics."""
        return self._writer.counts

    async def append(self, records: Sequence[Answer | Feedback]) -> list[str]:
        """Log the records; returns their ids once they are on the disk. Many callers share one fsync.

        Raises :class:`LogFullError` or :class:`LogError`: then none of them was logged, and no answer may be given.
        """
        if not records:
            return []
        second = int(self._clock())
        marks = [secrets.randbits(64) for _ in records]
        payloads = [_encode(record, second, random) for record, random in zip(records, marks, strict=True)]
        future = asyncio.get_running_loop().create_future()
        places = self._writer.put(payloads, future)
        await future
        return [
            Place(second, segment, offset, random).encode()
            for (segment, offset), random in zip(places, marks, strict=True)
        ]

    def find(self, id: str, project: str | None = None) -> StoredAnswer | None:  # noqa: A002 - reads as it is meant
        """The answer; ``None`` for an id that is none, or of another project. Reads the disk: call it in a thread."""
        return reading.find(self.folder, id, project)

    def feedback(
        self, id: str, project: str | None = None, most: int = reading.MOST_SAID  # noqa: A002 - reads as it is meant
    ) -> reading.Said:  # fmt: skip
        """The newest ``most`` that was said of the answer. Reads the disk: call it in a thread."""
        return reading.feedback_of(self.folder, id, project, most)

    def recent_feedback(self, project: str, since: datetime) -> Iterator[StoredFeedback]:
        """The project's feedback from ``since`` on, oldest first, each once. Reads the disk: call it in a thread."""
        return reading.recent_feedback(self.folder, project, since)

    def elsewhere(self, project: str) -> Elsewhere:
        """Gives the feedback of other processes that is drained from now on. Reads the disk: call it in a thread."""
        return Elsewhere(self.folder, project, self._node.tag)

    def drain(self) -> None:
        """Move closed segments to Parquet and tell the ledger, now. The drainer's thread does so by itself."""
        with self._draining:
            drain(self._node.folder, self.folder / reading.PARQUET, self._writer.writes)
            self._tell(self._node.folder)

    def _tell(self, node: Path) -> None:
        try:
            tell(node, self._on_closed)
        except Exception as fault:  # noqa: BLE001 - the ledger is away or at fault: traffic does not wait for it
            log.warning("log.segments_not_told", reason=str(fault))

    def _drain_on(self) -> None:
        cared = -CARE_S
        while True:
            self._wake.clear()
            ended = self._ended.is_set()  # looked at behind the clearing, so that no wake for it is lost
            _try(self.drain)  # where it fails at the end the next start does it
            if ended:
                return
            if time.monotonic() - cared > CARE_S:
                cared = time.monotonic()
                _try(self._prune)  # on a full disk this is what makes room
                _try(self.recover)
            self._wake.wait(DRAIN_S)

    def recover(self) -> None:
        """Drain what servers of this home left that are gone. The drainer's thread does so by itself, now and then."""
        for node in nodes.abandoned(self.folder, self._node.folder):
            drain(node.folder, self.folder / reading.PARQUET, lambda _path: False)
            self._tell(node.folder)

    def _prune(self) -> None:
        now = datetime.fromtimestamp(self._clock(), UTC)
        if self._others_clock is not None:
            with contextlib.suppress(Exception):  # it is away: what is old must go nevertheless, or the disk gets full
                now = min(now, self._others_clock())
        kept = retention.kept_since(self.folder, now, self._days)
        retention.prune(self.folder, now, kept)
        if self._on_pruned is not None:
            try:
                self._on_pruned(kept)
            except Exception as fault:  # noqa: BLE001 - as in `_tell`; the next look tells it again
                log.warning("log.pruning_not_told", reason=str(fault))

    async def close(self) -> None:
        """Finish what was accepted, close the segment, drain it, and let another server have the folder."""
        await asyncio.to_thread(self._close)

    def _close(self) -> None:
        self._writer.close()
        self._ended.set()
        self._wake.set()
        self._drainer.join(END_S)
        if self._drainer.is_alive():  # the folder stays its own until the process has ended
            log.warning("log.drain_not_waited_for", seconds=END_S)
            return
        self._node.release()


def _try(step: Callable[[], None]) -> None:
    """A fault is told and borne: the segments are safe, and the next look comes."""
    try:
        step()
    except OSError as fault:
        log.warning("log.not_drained", reason=str(fault))
    except Exception:
        log.exception("log.not_drained")


def _encode(record: Answer | Feedback, second: int, random: int) -> bytes:
    if len(record.project) > LONGEST or _SLUG.fullmatch(record.project) is None:
        raise LogError(f"{record.project!r} is no project's slug: its traffic has no folder.")
    return codec.encode(record, second, random)
