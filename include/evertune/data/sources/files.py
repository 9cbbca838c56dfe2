"""Local files: CSV, TSV, JSON Lines and Parquet, plain or compressed."""

from __future__ import annotations

import contextlib
import difflib
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import IO

from evertune.data.sources import columnar, delimited, jsonlines
from evertune.data.sources.rows import Row
from evertune.data.sources.streams import decompressed, format_of, text_lines
from evertune.project.options import Format, Source
from evertune.records import UnfitError

_URI = "the source's `uri` in the project file"


def fingerprint(source: Source) -> str:
    """SHA-256 of the file. Raises :class:`UnfitError` where it is not there, or not the one that the project names."""
    with opened(source, None) as stream:
        return _hash(stream)


@contextlib.contextmanager
def opened(source: Source, expected: str | None) -> Iterator[IO[bytes]]:
    """The file, opened; its bytes are checked against ``expected`` and the project's hash before they are read."""
    path = Path(source.uri)
    try:
        stream = path.open("rb")
    except FileNotFoundError as fault:
        raise UnfitError(f"There is no file {path}.{_near(path)} Put it there, or change {_URI}.") from fault
    except OSError as fault:
        why = os.strerror(fault.errno or 0)
        raise UnfitError(f"{path} cannot be read: {why}. Mend that, or change {_URI}.") from fault
    with stream:
        found = _hash(stream)
        if source.sha256 is not None and found != source.sha256:
            raise UnfitError(
                f"{path} is not the file that the project names.\n  expected SHA-256 {source.sha256}\n"
                f"  found            {found}\nPut the right file there, or change `sha256` if the new one is meant."
            )
        if expected is not None and found != expected:
            raise UnfitError(f"{path} has changed since this run looked at it. Run again: the new file is a new run.")
        yield stream


def rows(stream: IO[bytes], name: str, source: Source, wanted: Sequence[str], scratch: Path) -> Iterator[Row]:
    """Rows of the file ``name`` behind ``stream``, whatever its format. Raises :class:`UnfitError` in one sentence.

    A copy that a format may need lies in the folder ``scratch``, without a name.
    """
    where = source.uri
    kind = format_of(source, name)
    with decompressed(stream, name, where) as raw:
        if kind is Format.PARQUET:
            yield from columnar.rows(raw, wanted, where, scratch)
            return
        with text_lines(raw, source, where) as lines:
            if kind is Format.JSONL:
                yield from jsonlines.rows(lines, wanted, where)
            else:
                yield from delimited.rows(lines, source, wanted, "," if kind is Format.CSV else "\t", where)


def _hash(stream: IO[bytes]) -> str:
    digest = hashlib.file_digest(stream, "sha256").hexdigest()  # type: ignore[arg-type]  # any readable binary stream
    stream.seek(0)
    return digest


def _near(path: Path) -> str:
    folder = path.parent
    names = [file.name for file in folder.iterdir()] if folder.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=3, cutoff=0.5)
    return f" Nearest in its folder: {', '.join(near)}." if near else ""
