"""A project's releases on the server's own disk: what answers when everything else is away.

::

    <home>/serving/<project>/
        <generation>/bundle/  engine/  checks.parquet     each whole or not there
        <generation>/answered.json                        written when it has been warmed, before it answers
        current.json                                      written last: which of them answers

What a kill leaves behind is a folder without ``answered.json``, which no boot ever takes.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from pydantic import ValidationError

from evertune import files
from evertune.records import JsonObject, Record, Release
from evertune.serving.engine.build import StoppedError

CURRENT, ANSWERED = "current.json", "answered.json"
BUNDLE, ENGINE, CHECKS = "bundle", "engine", "checks.parquet"
_LOOK_S = 0.1
"""Seconds between two tries to get a lock that somebody holds."""


class Kept(Record):
    """A release that was found good on this machine."""

    format: int = 1
    release: Release
    about: JsonObject
    allowed_loss: float
    engine: str
    """Digest of the engine's folder."""
    checks: str | None
    """SHA-256 of the check rows, where there were any."""


class Shelf:
    """The folder of one project. Several servers of one home may use it: whoever changes it holds :meth:`locked`."""

    def __init__(self, home: Path, slug: str) -> None:
        self.folder = home / "serving" / slug

    def place(self, generation: int) -> Path:
        """The folder of a generation."""
        return self.folder / str(generation)

    @contextmanager
    def locked(self, stop: threading.Event | None = None) -> Iterator[None]:
        """Nobody else puts anything in or takes anything out meanwhile.

        Whoever has it may be fetching and converting for minutes. Raises :class:`StoppedError` where ``stop`` is set
        before it is free.
        """
        stop = stop or threading.Event()
        with ExitStack() as held:
            while True:
                try:
                    held.enter_context(files.lock(self.folder / ".lock"))
                    break
                except files.BusyError as fault:
                    if stop.wait(_LOOK_S):
                        raise StoppedError(f"{fault} This server ends, and does not wait for it.") from fault
            yield

    def keep(self, kept: Kept) -> None:
        """Note that the release is good, and then that it is the current one."""
        value = _sealed(kept)
        files.write_json(self.place(kept.release.generation) / ANSWERED, value)
        files.write_json(self.folder / CURRENT, value)

    def candidates(self) -> list[Kept]:
        """Releases to boot from, the current one first, then the newest; each was good when it was kept.

        Where ``current.json`` is torn or gone, those that answered before it still are there.
        """
        current = _read(self.folder / CURRENT)
        others = [_read(self.place(number) / ANSWERED) for number in sorted(self.generations(), reverse=True)]
        found = {kept.release.generation: kept for kept in (current, *others) if kept is not None}
        return list(found.values())

    def generations(self) -> list[int]:
        """Generations of which there is a folder, whole or not."""
        if not self.folder.is_dir():
            return []
        return sorted(int(path.name) for path in self.folder.iterdir() if path.is_dir() and path.name.isdecimal())

    def clear(self, newest: int) -> None:
        """Remove generations before ``newest`` but the last two up to it that answered, and what kills left behind.

        Those that were refused go as well: as long as one after the other is, none is ever installed.
        """
        there = [number for number in self.generations() if number <= newest]
        answered = [number for number in there if _read(self.place(number) / ANSWERED)]
        for number in there:
            if number not in {newest, *answered[-2:]}:
                shutil.rmtree(self.place(number), ignore_errors=True)
        for path in [*self.folder.glob(".*"), *self.folder.glob("*/.*")]:
            if path.name == ".lock":
                continue
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def slugs(home: Path) -> list[str]:
    """Projects that have a shelf."""
    folder = home / "serving"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def _sealed(kept: Kept) -> JsonObject:
    value = kept.model_dump(mode="json")
    return {"kept": value, "sha256": files.hash_of(value)}


def _read(path: Path) -> Kept | None:
    """The record, or ``None`` where there is none that is what was written."""
    try:
        found = files.read_json(path)
        if found["sha256"] != files.hash_of(found["kept"]):
            return None
        return Kept.model_validate(found["kept"])
    except (OSError, files.CorruptError, ValidationError, KeyError, TypeError, ValueError):
        return None
