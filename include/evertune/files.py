"""Files that are whole or not there: write aside, fsync, manifest last, rename; verify on reading.

A reader that finds a name finds complete bytes behind it. A folder is complete when its ``manifest.json`` is there,
because that is written last, and it holds the SHA-256 of every other file, so that a torn write or a flipped bit is
found before anything of the folder is used.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from evertune.records import EvertuneError

MANIFEST = "manifest.json"
_GONE = ".gone"


class CorruptError(EvertuneError):
    """A file or folder is not what its manifest says. Nothing of it may be used."""


def sha256(path: Path) -> str:
    """Hex SHA-256 of the file's bytes, read in pieces."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def canonical(value: object) -> str:
    """``value`` as JSON with sorted keys and no spaces: the form that is hashed."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def hash_of(value: object) -> str:
    """Hex SHA-256 of a JSON value in its canonical form."""
    return hashlib.sha256(canonical(value).encode()).hexdigest()


def fsync(path: Path) -> None:
    """Make the file's bytes, or the folder's names, survive a power cut."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_bytes(path: Path, data: bytes) -> None:
    """Write the file whole or not at all; a file of this name that was there is replaced in one step."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.chmod(0o644)
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync(path.parent)


def write_text(path: Path, text: str) -> None:
    """Like :func:`write_bytes`, in UTF-8."""
    write_bytes(path, text.encode())


def write_json(path: Path, value: object) -> None:
    """Like :func:`write_bytes`, as indented JSON with sorted keys, so that equal values are equal bytes."""
    write_text(path, json.dumps(value, sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """The file's JSON value. Raises :class:`CorruptError` where it is none."""
    try:
        return json.loads(path.read_text("utf-8"))
    except (UnicodeDecodeError, json.JSONDecodeError) as fault:
        raise CorruptError(f"{path} is not whole JSON ({fault}). Delete it and run the step again.") from fault


@contextlib.contextmanager
def new_folder(path: Path) -> Iterator[Path]:
    """A folder to fill; when the block ends it is sealed by a manifest and takes ``path``'s place in one step.

    On any error nothing of it stays and what was at ``path`` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = Path(tempfile.mkdtemp(prefix=f".{path.name}.", dir=path.parent))
    try:
        yield aside
        seal(aside)
        aside.chmod(0o755)
        _replace_folder(aside, path)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


def _replace_folder(aside: Path, path: Path) -> None:
    # rename() does not replace a folder that is not empty, so the old one steps aside first.
    old = path.with_name(f".{path.name}.old.{os.getpid()}")
    if path.exists():
        path.rename(old)
    aside.rename(path)
    fsync(path.parent)
    shutil.rmtree(old, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Take the folder away in one step: under its name it is whole or gone, also after a kill in the middle.

    Raises :class:`OSError` where not all of it can be removed. What that, or a kill, leaves under another name is what
    :func:`sweep` finds.
    """
    gone = folder.with_name(f".{folder.name}{_GONE}")
    folder.rename(gone)
    fsync(folder.parent)
    shutil.rmtree(gone)


def sweep(parent: Path) -> list[Path]:
    """Remove what was left of folders below ``parent`` by removals that were cut off; returns what still stays."""
    left = list(parent.glob(f".*{_GONE}"))
    for gone in left:
        shutil.rmtree(gone, ignore_errors=True)
    return [gone for gone in left if gone.exists()]


@contextlib.contextmanager
def nameless(folder: Path) -> Iterator[Path]:
    """A file on the folder's disk that no name leads to: whatever ends this process, nothing of it is left.

    The path is that of the handle held here: it can be opened by this process alone, as often as it likes.
    """
    with tempfile.TemporaryFile(dir=folder) as held:
        yield Path("/dev/fd") / str(held.fileno())


@contextlib.contextmanager
def full_disk_in_words(path: Path, what: str, instead: str = "set EVERTUNE_HOME to a larger disk") -> Iterator[None]:
    """A full disk (or quota, or file size limit) met while ``what`` is written to ``path`` becomes one sentence.

    ``instead`` says how it can be had elsewhere.
    """
    try:
        yield
    except OSError as fault:
        if fault.errno not in {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}:
            raise
        there = next(folder for folder in [path, *path.parents] if folder.is_dir())
        free = shutil.disk_usage(there).free / 1e6
        raise EvertuneError(
            f"The disk is full: {what} needs more room at {there} than the {free:.0f} MB that are free "
            f"({os.strerror(fault.errno)}). Nothing half-written was left. Free some, or {instead}, then run again."
        ) from fault


def seal(folder: Path) -> str:
    """Write the folder's manifest, last of all its files, and return the folder's digest."""
    digests = {}
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file != folder / MANIFEST:
            file.chmod(0o644)  # safetensors writes 0600, which another container's user cannot read
            fsync(file)
            digests[file.relative_to(folder).as_posix()] = sha256(file)
    write_json(folder / MANIFEST, digests)
    return digest(folder)


def digest(folder: Path) -> str:
    """The folder's digest: SHA-256 over its manifest. Does not verify; see :func:`verify`."""
    manifest = folder / MANIFEST
    if not manifest.is_file():
        raise CorruptError(f"{folder} has no {MANIFEST}: it was not written to its end. Delete it and run again.")
    return hash_of(read_json(manifest))


def verify(folder: Path, expected: str | None = None) -> str:
    """Check every file against the manifest, and the manifest against ``expected``; return the folder's digest.

    Raises :class:`CorruptError` for a missing, added, changed or linked file.
    """
    found = digest(folder)
    if expected is not None and found != expected:
        raise CorruptError(f"{folder} has digest {found[:12]}…, expected {expected[:12]}…. It is not that version.")
    manifest: dict[str, str] = read_json(folder / MANIFEST)
    there = {
        file.relative_to(folder).as_posix()
        for file in folder.rglob("*")
        if (file.is_file() or file.is_symlink()) and file != folder / MANIFEST
    }
    if there != set(manifest):
        odd = ", ".join(sorted(there ^ set(manifest))[:5])
        raise CorruptError(f"{folder} and its {MANIFEST} disagree about: {odd}.")
    for name, expected_hash in manifest.items():
        if (folder / name).is_symlink() or sha256(folder / name) != expected_hash:
            raise CorruptError(f"{folder / name} is not what the manifest says: its bytes have changed.")
    return found


class BusyError(EvertuneError):
    """Another process holds the lock."""

    retry = True


@contextlib.contextmanager
def lock(path: Path, *, wait: bool = False) -> Iterator[None]:
    """Hold ``path`` as an exclusive lock. It falls away with the process, however that ends.

    Raises :class:`BusyError` at once where another process holds it and ``wait`` is false.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError as fault:
            raise BusyError(f"{path} is held by another process. It goes free when that ends.") from fault
        yield
    finally:
        os.close(descriptor)
