"""Each running server writes into a folder of its own, held by a lock, so that no two ever append to one file.

A folder is ``<home>/traffic/<host>-<tag>``; the tag, six hexadecimal digits, is part of the number of every segment in
it, so that numbers are unique among the servers of a home. A server that starts takes a folder that nobody holds.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path

from evertune import files
from evertune.files import BusyError

LOCK = "lock"
TAG_BITS = 24
SUFFIX = ".log"
_NAME = re.compile(r".+-([0-9a-f]{6})")


class Node:
    """A folder that this process holds until :meth:`release`."""

    def __init__(self, folder: Path) -> None:
        """Take the folder. Raises :class:`BusyError` where another process holds it."""
        self.folder = folder
        self.tag = tag_of(folder)
        if not folder.exists():
            folder.mkdir(exist_ok=True)
            files.fsync(folder.parent)
        self._lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as fault:
            os.close(self._lock)
            raise BusyError(f"{folder} is held by another server.") from fault
        there = [int(path.stem, 16) for path in segments(folder)]
        noted = os.pread(self._lock, 16, 0)
        self.newest = max([*there, int(noted, 16) if re.fullmatch(rb"[0-9a-f]{16}", noted) else 0])
        """The newest segment there ever was: also when the clock is set back, no number comes twice."""

    def note(self, segment: int) -> None:
        """Keep the number of a segment that is about to be made."""
        os.pwrite(self._lock, f"{segment:016x}".encode(), 0)
        os.fdatasync(self._lock)

    def next(self, now: float) -> int:
        """A number that no segment has had: hundredths of seconds since 1970, then the folder's tag."""
        moment = max(int(now * 100), (self.newest >> TAG_BITS) + 1)
        self.newest = (moment << TAG_BITS) | self.tag
        return self.newest

    @property
    def released(self) -> bool:
        """Whether the folder is another's to take."""
        return self._lock < 0

    def release(self) -> None:
        """Let another process have the folder."""
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1


def tag_of(folder: Path) -> int:
    """The tag in the folder's name."""
    found = _NAME.fullmatch(folder.name)
    return int(found[1], 16) if found else 0


def tag_in(segment: int) -> int:
    """The tag in the segment's number: that of the folder in which it was written."""
    return segment & ((1 << TAG_BITS) - 1)


def folders(traffic: Path) -> list[Path]:
    """The folders of all servers there ever were."""
    if not traffic.is_dir():
        return []
    return sorted(path for path in traffic.iterdir() if _NAME.fullmatch(path.name) and path.is_dir())


def folders_of(traffic: Path, segment: int) -> list[Path]:
    """Where a segment of this number may lie."""
    return [folder for folder in folders(traffic) if tag_of(folder) == tag_in(segment)]


def segments(folder: Path) -> list[Path]:
    """The folder's segments, oldest first. One that is removed meanwhile may or may not be among them."""
    return sorted(path for path in folder.glob("*" + SUFFIX) if re.fullmatch(r"[0-9a-f]{16}", path.stem))


def claim(traffic: Path) -> Node:
    """A folder that nobody holds, else a new one."""
    if not traffic.exists():
        traffic.mkdir(parents=True, exist_ok=True)
        files.fsync(traffic.parent)
    with files.lock(traffic / LOCK, wait=True):
        for node in _free(folders(traffic)):
            return node
        used = {tag_of(folder) for folder in folders(traffic)}
        tag = next(tag for tag in iter(lambda: secrets.randbits(TAG_BITS), -1) if tag not in used)
        host = re.sub(r"[^A-Za-z0-9.-]", "-", socket.gethostname())[:64] or "server"
        return Node(traffic / f"{host}-{tag:06x}")


def abandoned(traffic: Path, mine: Path) -> Iterator[Node]:
    """The folders with segments whose servers are gone, each held while it is looked at."""
    for node in _free(folder for folder in folders(traffic) if folder != mine and leftovers(folder)):
        try:
            yield node
        finally:
            node.release()


def leftovers(folder: Path) -> bool:
    """Whether something waits there to be drained or told."""
    return any(path.suffix in {SUFFIX, ".drained"} for path in folder.iterdir())


def _free(some: Iterator[Path] | list[Path]) -> Iterator[Node]:
    for folder in some:
        try:
            node = Node(folder)
        except BusyError:
            continue
        yield node
