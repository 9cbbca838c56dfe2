"""Appends records to segments: one thread, one fsync for all who wait, acknowledged only behind it.

Offsets are given out in order while records are put in, because ids hold them; the thread writes in exactly that
order. Where a write fails, everything behind it fails too: the segment is cut back to its last acknowledged byte and
closed, and the next record begins a new one. An fsync that failed is never tried again on the same file: the kernel
may have dropped the pages, and the second call would say that all is well (LWN 752063).
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import threading
import time
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

import structlog

from evertune.serving.log.frames import HEAD_BYTES, HEADER_BYTES, Header
from evertune.serving.log.nodes import SUFFIX, Node
from evertune.serving.log.open_segment import OpenSegment
from evertune.serving.log.records import LogError, LogFullError

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
MOST_PENDING = 64 << 20
"""Bytes that may wait for the disk."""
log = structlog.get_logger(__name__)


class Slot(NamedTuple):
    """Where one caller's records will lie, and who waits for them."""

    segment: int
    offset: int
    payloads: Sequence[bytes]
    size: int
    future: asyncio.Future[None]
    loop: asyncio.AbstractEventLoop


class Counts(NamedTuple):
    """What was written since the start."""

    records: int
    commits: int
    failures: int
    """Records that were refused or failed."""


class Writer:
    """The one who writes into a node's folder."""

    def __init__(
        self,
        node: Node,
        *,
        segment_bytes: int,
        segment_s: float,
        on_closed: Callable[[], None],
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._node = node
        self._segment_bytes = segment_bytes
        self._segment_s = segment_s
        self._on_closed = on_closed
        self._clock = clock
        self._lock = threading.Condition()
        self._pending: list[Slot] = []
        self._pending_bytes = 0
        self._segment: int | None = None
        """Where the next record goes; ``None``: into a new one."""
        self._end = HEADER_BYTES
        self._until = 0.0
        self._closing = False
        self._file: OpenSegment | None = None
        self._counts = Counts(0, 0, 0)
        self._thread = threading.Thread(target=self._run, name="evertune-log", daemon=True)
        self._thread.start()

    def put(self, payloads: Sequence[bytes], future: asyncio.Future[None]) -> list[tuple[int, int]]:
        """Take records in; returns segment and offset of each. ``future`` is done when they are on the disk, or not.

        All of one call lie in one segment. Raises :class:`LogError` where they cannot be taken in.
        """
        size = sum(HEAD_BYTES + len(payload) for payload in payloads)
        with self._lock:
            if self._closing:
                raise LogError("The traffic log is closed: the server is going down.")
            if self._pending_bytes and self._pending_bytes + size > MOST_PENDING:
                self._counts = self._counts._replace(failures=self._counts.failures + len(payloads))
                raise LogError("The traffic log is behind: its disk takes less than what comes. Try again later.")
            slot = self._place(payloads, size, future)
            self._pending.append(slot)
            self._pending_bytes += size
            self._lock.notify()
        places, at = [], slot.offset
        for payload in payloads:
            places.append((slot.segment, at))
            at += HEAD_BYTES + len(payload)
        return places

    def _place(self, payloads: Sequence[bytes], size: int, future: asyncio.Future[None]) -> Slot:
        full = self._end > HEADER_BYTES and self._end + size > self._segment_bytes
        if self._segment is None or full or time.monotonic() >= self._until:
            self._segment, self._end = self._node.next(self._clock()), HEADER_BYTES
            self._until = time.monotonic() + self._segment_s
        slot = Slot(self._segment, self._end, payloads, size, future, future.get_loop())
        self._end += size
        return slot

    def _run(self) -> None:
        while (slots := self._take()) is not None:
            if not slots:
                self._close_file()
                continue
            try:
                self._write(slots)
            except Exception as fault:  # whatever it is, nobody may wait for a thread that has died
                log.exception("log.writer_stumbled")
                self._fail(slots, fault)
        self._close_file()

    def _take(self) -> list[Slot] | None:
        """All that waits; nothing when the segment's time is up; ``None`` when it is time to end."""
        with self._lock:
            while not self._pending and not self._closing:
                left = None if self._segment is None else self._until - time.monotonic()
                if left is not None and left <= 0:
                    self._segment = None
                    return []
                self._lock.wait(left)
            slots, self._pending, self._pending_bytes = self._pending, [], 0
            return slots or None

    def _write(self, slots: list[Slot]) -> None:
        done = 0
        for segment, group in groupby(slots, lambda slot: slot.segment):
            some = list(group)
            try:
                self._open(segment).append([(slot.offset, slot.payloads) for slot in some])
            except OSError as fault:
                self._fail(slots[done:], fault)
                return
            done += len(some)
            records = sum(len(slot.payloads) for slot in some)
            self._counts = self._counts._replace(
                records=self._counts.records + records, commits=self._counts.commits + 1
            )
            _resolve(some, None)

    def _open(self, segment: int) -> OpenSegment:
        if self._file is None or self._file.header.segment != segment:
            self._close_file()
            self._node.note(segment)
            header = Header.new(segment, int(self._clock() * 1e6))
            self._file = OpenSegment(self._node.folder / f"{segment:016x}{SUFFIX}", header)
            self._file.begin()
        return self._file

    def _fail(self, slots: Sequence[Slot], fault: Exception) -> None:
        """These, and all that were put behind them, were not logged. The next record begins a new segment."""
        with self._lock:
            slots = [*slots, *self._pending]
            self._pending, self._pending_bytes, self._segment = [], 0, None
        if self._file is not None:
            self._file.cut()
        self._close_file()
        records = sum(len(slot.payloads) for slot in slots)
        self._counts = self._counts._replace(failures=self._counts.failures + records)
        log.error("log.not_written", records=records, reason=str(fault))
        _resolve(slots, _in_words(fault, self._node.folder))

    def _close_file(self) -> None:
        file, self._file = self._file, None
        if file is not None:
            file.close()
            self._on_closed()

    @property
    def counts(self) -> Counts:
        """What was written since the start."""
        return self._counts

    def writes(self, path: Path) -> bool:
        """Whether this file is, or may be, the one that is being written. Asked after the folder was listed."""
        file = self._file
        return file is not None and file.path == path

    def close(self) -> None:
        """Write what waits, close the segment and end. Takes as long as the disk."""
        with self._lock:
            self._closing = True
            self._lock.notify()
        self._thread.join()


def _in_words(fault: Exception, folder: Path) -> LogError:
    if isinstance(fault, OSError) and fault.errno in FULL:
        return LogFullError(
            f"The disk of the traffic log is full ({folder}): the answer could not be logged, so it is not given. "
            "Free some space, or shorten the retention."
        )
    return LogError(f"The traffic log could not be written ({folder}): {fault}. The answer is not given.")


def _resolve(slots: Sequence[Slot], fault: LogError | None) -> None:
    """Wake the callers: one message to each loop, however many wait there."""
    for loop in {slot.loop for slot in slots}:
        futures = [slot.future for slot in slots if slot.loop is loop]
        with contextlib.suppress(RuntimeError):  # the loop is closed, and with it whoever waited
            loop.call_soon_threadsafe(_finish, futures, fault)


def _finish(futures: Sequence[asyncio.Future[None]], fault: LogError | None) -> None:
    for future in futures:
        if future.done():
            continue  # the caller has gone; the record is logged all the same
        if fault is None:
            future.set_result(None)
        else:
            future.set_exception(type(fault)(str(fault)))  # one for each: a traceback hangs on it
