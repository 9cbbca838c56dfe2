"""Ids of records: where the record lies, so that no index is needed, and a random part that nobody can guess.

Forty characters of URL-safe Base64 for thirty bytes: version, second, segment, offset, random part, checksum. Each id
has one spelling. The checksum only spares the disk a search for what was mistyped; what proves an id is that the record
at its place holds the same random part.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import zlib
from datetime import UTC, datetime
from typing import NamedTuple

VERSION = 1
LENGTH = 40
_FORM = struct.Struct(">BBIQIQ")  # the second's five bytes are one and four
_CHECK = struct.Struct(">I")
_LAST = int(datetime(9999, 12, 31, 23, tzinfo=UTC).timestamp())
_ALPHABET = re.compile(rf"[A-Za-z0-9_-]{{{LENGTH}}}", re.ASCII)


class Place(NamedTuple):
    """What an id says."""

    second: int
    """Of the record's writing, since 1970; its hour names the folder of the Parquet file."""
    segment: int
    offset: int
    random: int
    """64 bits."""

    def encode(self) -> str:
        """The id."""
        high, low = divmod(self.second, 1 << 32)
        packed = _FORM.pack(VERSION, high, low, self.segment, self.offset, self.random)
        return base64.urlsafe_b64encode(packed + _CHECK.pack(zlib.crc32(packed))).decode()


def decode(text: object) -> Place | None:
    """What the id says; ``None`` for what is no id. Never raises."""
    if not isinstance(text, str) or _ALPHABET.fullmatch(text) is None:
        return None
    try:
        packed = base64.urlsafe_b64decode(text)
    except (binascii.Error, ValueError):
        return None
    version, high, low, segment, offset, random = _FORM.unpack(packed[: _FORM.size])
    if version != VERSION or _CHECK.unpack(packed[_FORM.size :])[0] != zlib.crc32(packed[: _FORM.size]):
        return None
    return Place((high << 32) + low, segment, offset, random)


def hour_of(second: int) -> str:
    """The folder of the hour in UTC: ``2026-11-22/18``. Seconds that no calendar has are in its last hour."""
    return datetime.fromtimestamp(min(max(second, 0), _LAST), UTC).strftime("%Y-%m-%d/%H")


def hex_of(segment: int) -> str:
    """The segment as its files are named: in the order of time."""
    return f"{segment:016x}"
