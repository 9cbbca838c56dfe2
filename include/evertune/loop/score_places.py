"""Where batch scoring reads and writes: files of this machine or of a store, looked at before anything is scored."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from evertune import files
from evertune.records import EvertuneError, UnfitError, UnreachableError

if TYPE_CHECKING:
    import pyarrow.parquet as pq
    from pyarrow import fs


class Place(NamedTuple):
    """A file of any store that pyarrow reaches: a path, ``s3://…``, ``gs://…``."""

    address: str
    """As it was given."""
    system: fs.FileSystem
    path: str

    @property
    def local(self) -> Path | None:
        """The path, where it is one of this machine."""
        from pyarrow import fs

        return Path(self.path) if isinstance(self.system, fs.LocalFileSystem) else None


def of(address: str) -> Place:
    """The place of this address. Raises :class:`UnfitError` where it is none that can be reached."""
    from pyarrow import fs

    if "://" not in address:
        return Place(address, fs.LocalFileSystem(), str(Path(address).absolute()))
    try:
        return Place(address, *fs.FileSystem.from_uri(address))
    except (ValueError, OSError) as fault:
        raise UnfitError(
            f"{address} is no place that can be reached: {fault}. Give a path, s3://… or gs://…."
        ) from fault


def opened(source: str) -> pq.ParquetFile:
    """The Parquet file at ``source``. Raises as :func:`read_in_words` does."""
    import pyarrow.parquet as pq

    place = of(source)
    with read_in_words(source, "Parquet"):
        return pq.ParquetFile(place.path, filesystem=place.system)  # closes what it has opened itself, nothing else


@contextlib.contextmanager
def read_in_words(source: str, form: str) -> Iterator[None]:
    """Faults of reading ``source`` are told: :class:`UnfitError` where it is not there or not of this form.

    :class:`UnreachableError` where it cannot be read.
    """
    import pyarrow as pa

    try:
        yield
    except FileNotFoundError as fault:
        raise UnfitError(f"There is no file {source}. Give a file with a column of texts.") from fault
    except (pa.ArrowInvalid, UnicodeDecodeError) as fault:
        raise UnfitError(
            f"{source} cannot be read as {form}: {fault}. See that it is one, whole, and in UTF-8."
        ) from fault
    except OSError as fault:
        raise UnreachableError(
            f"{source} cannot be read: {fault}. See that it is whole, and that its store answers."
        ) from fault


def sink(address: str, source: str) -> Place:
    """The place to write to, found fit: a file can be made there, and it is not the ``source``.

    Raises :class:`UnfitError`; looked at first, because to find it after hours of scoring is too late.
    """
    place = of(address)
    with _in_words(place, UnfitError):
        if _same(place, of(source)):
            raise UnfitError(f"{address} is the source itself, which would be lost. Name another file to write.")
        if place.local is None:
            place.system.get_file_info(place.path)  # whether the store answers at all; only writing tells more
            return place
        if place.local.is_dir():
            raise IsADirectoryError("it is a folder; name a file in it")
        if place.local.exists() and not place.local.is_file():
            raise OSError("it is no file, and a file would take its place")
        with _aside(place.local, secrets.token_hex(12)):
            pass
    return place


def _same(one: Place, other: Place) -> bool:
    if one.local is None or other.local is None:
        return (one.system, one.path) == (other.system, other.path)
    return one.local.exists() and other.local.exists() and one.local.samefile(other.local)


def deliver(whole: Path, to: Place, job: str) -> None:
    """Copy the file to the sink. An object store shows an upload only when it is whole; on a disk a rename does so.

    ``job`` is a name that whoever begins this again after it was cut off has, and nobody else.
    """
    with _in_words(to, EvertuneError):
        if to.local is None:
            _copy(whole, to.system, to.path)
            return
        with _aside(to.local, job) as aside:
            with files.full_disk_in_words(aside, "the scored file", "name a place on a larger disk"):
                _copy(whole, to.system, str(aside))
                files.fsync(aside)
            aside.replace(to.local)
        files.fsync(to.local.parent)


@contextlib.contextmanager
def _aside(sink: Path, job: str) -> Iterator[Path]:
    """A new file beside the sink, under the job's name, which nobody else has; it is gone at the end.

    Unlike those of :mod:`evertune.files` it is as private as whoever scores makes files: it holds what people wrote.
    """
    sink.parent.mkdir(parents=True, exist_ok=True)
    aside = sink.with_name(f".{sink.name}.{job}")
    aside.unlink(missing_ok=True)  # of a try that was killed
    aside.open("xb").close()
    try:
        yield aside
    finally:
        aside.unlink(missing_ok=True)


def _copy(whole: Path, system: fs.FileSystem, path: str) -> None:
    from pyarrow import fs

    fs.copy_files(str(whole), path, source_filesystem=fs.LocalFileSystem(), destination_filesystem=system)


@contextlib.contextmanager
def _in_words(place: Place, kind: type[EvertuneError]) -> Iterator[None]:
    try:
        yield
    except OSError as fault:
        raise kind(
            f"{place.address} cannot be written: {fault.strerror or fault}. Name another place, or see that this one "
            "takes files; what is scored is kept."
        ) from fault
