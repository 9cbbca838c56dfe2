"""Bytes of a source: opened, decompressed by the name's ending, looked at before they are believed."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import itertools
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, TYPE_CHECKING, cast

from evertune.data.sources.rows import MARKING
from evertune.project.forms import ending
from evertune.project.options import Format, Source
from evertune.project.source_options import FORMATS
from evertune.records import UnfitError

if TYPE_CHECKING:
    import zstandard
    from typing_extensions import Buffer

_MAGIC = {
    b"\x1f\x8b": "a gzip file",
    b"\x28\xb5\x2f\xfd": "a zstd file",
    b"PK\x03\x04": "a zip file (an .xlsx workbook is one)",
    b"PAR1": "a Parquet file",
    b"%PDF": "a PDF file",
    b"BZh": "a bzip2 file",
    b"\xfd7zXZ": "an xz file",
    b"SQLite format 3": "an SQLite database",
    b"\x89PNG": "a PNG picture",
    b"\xff\xfe": "UTF-16 text",
    b"\xfe\xff": "UTF-16 text",
}


def format_of(source: Source, name: str) -> Format:
    """The source's format: as it says, or by the ending of ``name``."""
    if source.format is not Format.AUTO:
        return source.format
    if ending(name) not in FORMATS:
        kinds = ", ".join(kind.value for kind in Format if kind is not Format.AUTO)
        raise UnfitError(f"{source.uri}: its ending does not tell what it is. Say `format:`, one of {kinds}.")
    return FORMATS[ending(name)]


@contextlib.contextmanager
def decompressed(raw: IO[bytes], name: str, where: str) -> Iterator[IO[bytes]]:
    """The bytes behind ``.gz`` and ``.zst``; others as they are. What is not what it says raises in one sentence."""
    import zstandard

    packing = PurePosixPath(name.lower()).suffix
    try:
        if packing == ".gz":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield io.BufferedReader(stream, 1 << 20)
        elif packing == ".zst":
            yield cast(IO[bytes], io.BufferedReader(_ZstdReader(raw), 1 << 20))
        else:
            yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as fault:
        kind = "gzip" if packing == ".gz" else "zstd"
        raise UnfitError(
            f"{where} is not a whole {kind} file, as its ending says ({fault}). Fetch it again, or name it as it is."
        ) from fault


@contextlib.contextmanager
def text_lines(stream: IO[bytes], source: Source, where: str) -> Iterator[Iterator[str]]:
    """Lines of a text file with their ends. Raises :class:`UnfitError` where it is empty or no text.

    Bytes that do not decode become a mark. Lines end at LF or CRLF; at a lone CR only where there is no LF.
    """
    # Members of an archive have all that a BufferedReader calls, whatever their type says.
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    )
    head = buffered.peek(1 << 16)[: 1 << 16]
    if not head:
        raise UnfitError(f"{where} is empty. Name a file that holds rows.")
    encoding = _encoding(source, where)
    _check_is_text(head, encoding, where)
    newline = "" if b"\r" in head and b"\n" not in head else "\n"
    text = io.TextIOWrapper(buffered, encoding, errors=MARKING, newline=newline)
    try:
        # Whatever the encoding, a byte order mark is no part of the first cell.
        first = next(text, "").removeprefix("\ufeff")
        yield itertools.chain([first], text)
    except UnicodeError as fault:  # of the stream as a whole; bytes that do not decode have become marks
        raise UnfitError(
            f"{where} is no text in {encoding} ({fault}). Say which `encoding` it has: utf-8, cp1252 or, of UTF-16 "
            "without a byte order mark, utf-16-le."
        ) from fault
    finally:
        text.detach()  # closing the bytes is their owner's work


def _encoding(source: Source, where: str) -> str:
    """Python's own name of the source's encoding, of its many."""
    try:
        return codecs.lookup(source.encoding).name
    except LookupError as fault:
        raise UnfitError(f"{where}: there is no encoding {source.encoding!r}. Try utf-8, cp1252 or utf-16.") from fault


def _check_is_text(head: bytes, encoding: str, where: str) -> None:
    wide = encoding.startswith(("utf-16", "utf-32"))
    for magic, what in _MAGIC.items():
        if head.startswith(magic) and not (wide and "UTF-16" in what):
            advice = "Say `encoding: utf-16`." if "UTF-16" in what else "Give it the ending that it deserves."
            raise UnfitError(f"{where} is not text, as its ending says: it begins like {what}. {advice}")
    if not wide and head.count(0) > max(len(head) // 10, 8):
        raise UnfitError(f"{where} is not text: a tenth of its bytes are NUL. Name the right file or its `encoding`.")


class _ZstdReader(io.RawIOBase):
    """Decompresses frame after frame. The library's own reader takes a file that was cut off for whole."""

    def __init__(self, raw: IO[bytes]) -> None:
        self._raw = raw
        self._frame: zstandard.ZstdDecompressionObj | None = None
        self._unread = b""
        self._out = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer) -> int:
        while not self._out:
            data = self._unread or self._raw.read(1 << 14)
            if not data:
                if self._frame is not None:
                    raise EOFError("it ends in the middle")
                return 0
            self._decompress(data)
        view = memoryview(buffer)
        n = min(len(view), len(self._out))
        view[:n] = self._out[:n]
        self._out = self._out[n:]
        return n

    def _decompress(self, data: bytes) -> None:
        import zstandard

        self._frame = self._frame or zstandard.ZstdDecompressor().decompressobj()
        self._out = memoryview(self._frame.decompress(data))
        self._unread = b""
        if self._frame.eof:
            self._unread, self._frame = self._frame.unused_data, None
