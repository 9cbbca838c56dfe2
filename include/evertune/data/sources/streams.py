"""Bytes of a source: opened, decompressed by the name's ending, looked at before they are believed."""

from __future__ import annotations

import codecs
import contextlib
import gzip
import io
import zlib
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import IO, cast

from evertune.data.sources.rows import MARK, MARKING
from evertune.project.options import Format, Source
from evertune.records import UnfitError

_ENDINGS = {
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".parquet": Format.PARQUET,
    ".pq": Format.PARQUET,
}
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
    path = PurePosixPath(name.lower())
    ending = PurePosixPath(path.stem).suffix if path.suffix in {".gz", ".zst"} else path.suffix
    if ending not in _ENDINGS:
        kinds = ", ".join(kind.value for kind in Format if kind is not Format.AUTO)
        raise UnfitError(f"{source.uri}: its ending does not tell what it is. Say `format:`, one of {kinds}.")
    return _ENDINGS[ending]


@contextlib.contextmanager
def decompressed(raw: IO[bytes], name: str, where: str) -> Iterator[IO[bytes]]:
    """The bytes behind ``.gz`` and ``.zst``; others as they are. What is not what it says raises in one sentence."""
    import zstandard

    ending = PurePosixPath(name.lower()).suffix
    try:
        if ending == ".gz":
            with gzip.GzipFile(fileobj=raw) as stream:
                yield io.BufferedReader(stream, 1 << 20)
        elif ending == ".zst":
            _check_zstd(raw, where)
            with zstandard.ZstdDecompressor().stream_reader(raw, read_across_frames=True) as stream:
                yield cast(IO[bytes], io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20))
        else:
            yield raw
    except (gzip.BadGzipFile, EOFError, zlib.error, zstandard.ZstdError) as fault:
        kind = "gzip" if ending == ".gz" else "zstd"
        raise UnfitError(
            f"{where} is not a whole {kind} file, as its ending says ({fault}). Fetch it again, or name it as it is."
        ) from fault


def text_lines(stream: IO[bytes], source: Source, where: str) -> tuple[Iterator[str], bool]:
    """Lines of a text file with their ends, and whether there is anything at all.

    Bytes that do not decode become :data:`MARK`. Lines end at LF or CRLF; at a lone CR only where there is no LF.
    """
    # Members of an archive have all that a BufferedReader calls, whatever their type says.
    buffered = (
        stream if isinstance(stream, io.BufferedReader) else io.BufferedReader(cast(io.RawIOBase, stream), 1 << 20)
    )
    head = buffered.peek(1 << 16)[: 1 << 16]
    _check_is_text(head, source, where)
    codecs.register_error(MARKING, _mark)
    try:
        encoding = codecs.lookup(source.encoding).name
    except LookupError as fault:
        raise UnfitError(f"{where}: there is no encoding {source.encoding!r}. Try utf-8, cp1252 or utf-16.") from fault
    encoding = "utf-8-sig" if encoding == "utf-8" else encoding
    newline = "" if b"\r" in head and b"\n" not in head else "\n"
    return iter(io.TextIOWrapper(buffered, encoding, errors=MARKING, newline=newline)), bool(head)


def _mark(fault: UnicodeError) -> tuple[str, int]:
    if not isinstance(fault, UnicodeDecodeError):
        raise fault
    return MARK, fault.end


def _check_is_text(head: bytes, source: Source, where: str) -> None:
    wide = source.encoding.lower().replace("_", "-").startswith(("utf-16", "utf-32"))
    for magic, what in _MAGIC.items():
        if head.startswith(magic) and not (wide and "UTF-16" in what):
            advice = "Say `encoding: utf-16`." if "UTF-16" in what else "Give it the ending that it deserves."
            raise UnfitError(f"{where} is not text, as its ending says: it begins like {what}. {advice}")
    if not wide and head.count(0) > max(len(head) // 10, 8):
        raise UnfitError(f"{where} is not text: a tenth of its bytes are NUL. Name the right file or its `encoding`.")


def _check_zstd(raw: IO[bytes], where: str) -> None:
    head = raw.read(4)
    raw.seek(0)
    if head and not head.startswith(b"\x28\xb5\x2f\xfd"):
        raise UnfitError(f"{where} is not a zstd file, as its ending says. Fetch it again, or name it as it is.")
