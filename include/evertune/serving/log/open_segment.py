"""A segment that is being written: what was acknowledged stays, what failed goes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from pathlib import Path

import structlog

from evertune import files
from evertune.serving.log.frames import HEADER_BYTES, Header

log = structlog.get_logger(__name__)


class OpenSegment:
    """A segment that is being written. Only the writer's thread uses it."""

    def __init__(self, path: Path, header: Header) -> None:
        self.path = path
        self.header = header
        self._descriptor = -1
        self._end = 0
        """Behind the last acknowledged byte."""

    def begin(self) -> None:
        """Make the file. Its name must survive a power cut before the first record in it is acknowledged."""
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        _write_all(self._descriptor, self.header.encode(), 0)
        self._end = HEADER_BYTES
        files.fsync(self.path.parent)

    def append(self, slots: Sequence[tuple[int, Sequence[bytes]]]) -> None:
        """Write the frames behind each other, each slot at its offset, and wait until they are on the disk."""
        frames, at = [], self._end
        for offset, payloads in slots:
            if offset != at:  # an id holds the offset, so anything else would make all later ids wrong
                raise OSError(f"a record belongs at {offset}, the segment ends at {at}")
            for payload in payloads:
                frames.append(self.header.frame(at, payload))
                at += len(frames[-1])
        _write_all(self._descriptor, b"".join(frames), self._end)
        os.fdatasync(self._descriptor)
        self._end = at

    def cut(self) -> None:
        """Back to the last acknowledged byte; a segment without any record goes, if it is this one's file."""
        if self._descriptor < 0:
            return
        try:
            if self._end <= HEADER_BYTES:
                self.path.unlink(missing_ok=True)
            else:
                os.ftruncate(self._descriptor, self._end)
        except (
            OSError
        ) as fault:  # then records may stand there that were refused, but none that was acknowledged is lost
            log.warning("log.not_cut", path=str(self.path), reason=str(fault))

    def close(self) -> None:
        """Done with it. All that counts was fsynced before, so a fault of closing says nothing."""
        if self._descriptor >= 0:
            with contextlib.suppress(OSError):
                os.close(self._descriptor)


def _write_all(descriptor: int, data: bytes, at: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(descriptor, view, at)
        view, at = view[written:], at + written
