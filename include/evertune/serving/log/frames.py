"""The bytes of a segment: a header, twice, then one frame a record. A frame says of itself whether it is whole.

The checksum of a frame also covers where it lies and a secret of the segment, so that nothing in a record's text can
pass for a frame. Where a frame is not whole the next one is looked for by the segment's mark: one flipped bit costs
one record, also where it is the length that flipped.
"""

from __future__ import annotations

import os
import secrets
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from evertune.files import CorruptError

MAGIC = b"evertune"
VERSION = 1
MOST = 16 << 20
"""Bytes of one record at most."""
_HEADER = struct.Struct("<8sIQQ12s")
_CRC = struct.Struct("<I")
_COPY = _HEADER.size + _CRC.size
HEADER_BYTES = 2 * _COPY
_HEAD = struct.Struct("<4sII")
HEAD_BYTES = _HEAD.size
_PLACE = struct.Struct("<II")


class Header(NamedTuple):
    """What stands at the beginning of a segment."""

    segment: int
    opened: int
    """Microseconds since 1970."""
    secret: bytes
    """Twelve random bytes; the first four mark each frame."""

    @classmethod
    def new(cls, segment: int, opened: int) -> Header:
        """A header with a secret of its own."""
        return cls(segment, opened, secrets.token_bytes(12))

    def encode(self) -> bytes:
        """The header's bytes: two copies, for a flipped bit in the only one would cost all records."""
        packed = _HEADER.pack(MAGIC, VERSION, self.segment, self.opened, self.secret)
        return 2 * (packed + _CRC.pack(zlib.crc32(packed)))

    @classmethod
    def decode(cls, data: bytes) -> Header:
        """The header at the beginning of ``data``. Raises :class:`CorruptError` where neither copy is whole."""
        for at in (0, _COPY):
            copy = data[at : at + _COPY]
            if len(copy) == _COPY and _CRC.unpack(copy[_HEADER.size :])[0] == zlib.crc32(copy[: _HEADER.size]):
                magic, version, segment, opened, secret = _HEADER.unpack(copy[: _HEADER.size])
                if magic == MAGIC and version == VERSION:
                    return cls(segment, opened, secret)
                if magic == MAGIC:
                    raise NewerError(f"is of format {version}, this evertune reads {VERSION}: upgrade evertune")
        raise CorruptError("has no whole header")

    def frame(self, offset: int, payload: bytes) -> bytes:
        """The record's frame, to be written at ``offset``."""
        return _HEAD.pack(self.secret[:4], len(payload), self._checksum(offset, payload)) + payload

    def _checksum(self, offset: int, payload: bytes) -> int:
        return zlib.crc32(payload, zlib.crc32(_PLACE.pack(offset, len(payload)), zlib.crc32(self.secret)))

    def unframe(self, offset: int, head: bytes, rest: bytes) -> bytes | None:
        """The record whose frame lies at ``offset``: ``rest`` is what follows ``head``. ``None``: it is not whole."""
        if len(head) != HEAD_BYTES:
            return None
        mark, length, checksum = _HEAD.unpack(head)
        if mark != self.secret[:4] or length > min(MOST, len(rest)):
            return None
        payload = rest[:length]
        return payload if checksum == self._checksum(offset, payload) else None


class NewerError(CorruptError):
    """The segment was written by a newer version. It is left as it is."""


class Whole(NamedTuple):
    """A record that was found whole, and where."""

    offset: int
    payload: bytes


class Contents(NamedTuple):
    """All that is whole in a segment."""

    header: Header
    records: list[Whole]
    torn: int
    """Bytes behind the last whole record: a write that was cut off."""
    damaged: int
    """Bytes before it that are no record: changed after they were written."""


def read(path: Path) -> Contents:
    """Everything whole in the segment. Raises :class:`CorruptError` where not even its header is."""
    data = path.read_bytes()
    header = Header.decode(data)
    records = list(_scan(header, data))
    whole = sum(HEAD_BYTES + len(record.payload) for record in records)
    end = records[-1].offset + HEAD_BYTES + len(records[-1].payload) if records else min(HEADER_BYTES, len(data))
    rest = data[end:]
    damaged = end - HEADER_BYTES - whole if records else 0
    # A crash leaves less than a frame. As many bytes as a frame has, and yet not whole, were changed after.
    if (
        len(rest) >= HEAD_BYTES
        and rest.startswith(header.secret[:4])
        and _HEAD.unpack_from(rest)[1] <= len(rest) - HEAD_BYTES
    ):
        return Contents(header, records, 0, damaged + len(rest))
    return Contents(header, records, len(rest), damaged)


def _scan(header: Header, data: bytes) -> Iterator[Whole]:
    view = memoryview(data)
    at = HEADER_BYTES
    while at < len(data):
        found = _at(header, data, view, at)
        if found is not None:
            yield Whole(at, found)
            at += HEAD_BYTES + len(found)
            continue
        at = data.find(header.secret[:4], at + 1)
        if at < 0:
            return


def of_kind(path: Path, kind: int) -> tuple[Header, Iterator[Whole]]:
    """The whole records whose first byte is ``kind``. The checksums of the others are not looked at, which is dear."""
    data = path.read_bytes()
    header = Header.decode(data)
    return header, _scan_for(header, data, kind)


def _scan_for(header: Header, data: bytes, kind: int) -> Iterator[Whole]:
    mark = header.secret[:4]
    at = HEADER_BYTES
    while 0 <= at <= len(data) - HEAD_BYTES:
        begin = at + HEAD_BYTES
        behind = begin + _HEAD.unpack_from(data, at)[1]
        marked = data.startswith(mark, at) and (behind == len(data) or data.startswith(mark, behind))
        payload = None
        if not marked or data[begin : begin + 1] == bytes([kind]):
            payload = header.unframe(at, data[at:begin], data[begin:behind])
            if payload and payload[0] == kind:
                yield Whole(at, payload)
        at = behind if marked or payload is not None else data.find(mark, at + 1)


def _at(header: Header, data: bytes, view: memoryview, at: int) -> bytes | None:
    head = data[at : at + HEAD_BYTES]
    if len(head) < HEAD_BYTES:
        return None
    length = _HEAD.unpack(head)[1]
    return header.unframe(at, head, bytes(view[at + HEAD_BYTES : at + HEAD_BYTES + min(length, MOST)]))


def read_at(path: Path, offset: int) -> bytes | None:
    """The record whose frame lies at ``offset``; ``None`` where there is none. Raises OSError without a file."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        header = Header.decode(os.pread(descriptor, HEADER_BYTES, 0))
        head = os.pread(descriptor, HEAD_BYTES, offset)
        if offset < HEADER_BYTES or len(head) < HEAD_BYTES:
            return None
        length = min(_HEAD.unpack(head)[1], MOST)
        return header.unframe(offset, head, os.pread(descriptor, length, offset + HEAD_BYTES))
    finally:
        os.close(descriptor)
