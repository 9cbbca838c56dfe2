"""The folder of a job: what lies in it, who may write what, and when it may be believed.

The starter writes ``job.json`` and opens ``log.txt``, the worker writes everything else, both only while they hold
``lock``. ``cancel`` is anybody's.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from evertune import files
from evertune.records import EvertuneError
from evertune.settings import Settings

LOCK_FD = "EVERTUNE_JOB_LOCK_FD"
"""Names the open file by which a starter hands the lock over to its worker."""
_LEAVES_WITHIN_S = 30.0


class CancelledError(EvertuneError):
    """Somebody asked the job to stop. It is not started again while its ``cancel`` file is there."""


def folder_of(settings: Settings, key: str) -> Path:
    """The job's folder. Raises :class:`ValueError` for a key that would lead out of the folder of jobs."""
    if not key or key.startswith(".") or "/" in key or "\0" in key:
        raise ValueError(f"{key!r} is no key of a job: it must be a plain file name that does not start with a dot.")
    return settings.jobs / key


def cancel(settings: Settings, key: str) -> None:
    """Ask the job to stop. A worker that does not leave by itself soon is ended; its checkpoints stay."""
    files.write_text(folder_of(settings, key) / "cancel", datetime.now(UTC).isoformat() + "\n")


def cancelled(folder: Path) -> bool:
    """Whether the job was asked to stop: what a worker's long loop looks at."""
    return (folder / "cancel").exists()


def report(folder: Path, progress: dict[str, Any]) -> None:
    """Say how far the job is. Only people read it: it is replaced in one step, but survives no power cut.

    A disk that is full hides the progress and harms nothing else.
    """
    aside = folder / f".progress.{os.getpid()}"
    with contextlib.suppress(OSError):
        aside.write_text(json.dumps(progress), "utf-8")
        aside.replace(folder / "progress.json")


def progress(settings: Settings, key: str) -> dict[str, Any]:
    """What the job last said of how far it is; empty where it has not said anything yet."""
    try:
        told: dict[str, Any] = files.read_json(folder_of(settings, key) / "progress.json")
    except (FileNotFoundError, files.CorruptError):
        return {}
    return told


def hand_over(settings: Settings, key: str, to: str, part: str) -> bool:
    """Move a part of an ended job's folder into that of a job that has not begun.

    ``False``, and nothing is moved, where the other has begun, there is no such part, or a worker is at work on it. A
    worker that was asked to stop is waited for: it leaves soon.
    """
    source, goal = folder_of(settings, key), folder_of(settings, to)
    if (goal / "job.json").exists() or (goal / part).exists() or not (source / part).exists():
        return False
    until = time.monotonic() + (_LEAVES_WITHIN_S if cancelled(source) else 0)
    while True:
        with take(source / "lock") as held:
            if held is not None:
                goal.mkdir(parents=True, exist_ok=True)
                (source / part).rename(goal / part)
                return True
        if time.monotonic() >= until:
            return False
        time.sleep(0.1)


def discard(settings: Settings, key: str, part: str) -> None:
    """Remove a part of an ended job's folder that is kept elsewhere. One that cannot be removed only takes room."""
    shutil.rmtree(folder_of(settings, key) / part, ignore_errors=True)


def remove(settings: Settings, key: str) -> bool:
    """Remove an ended job's folder; ``False``, and all of it stays, while a worker is at work on it."""
    folder = folder_of(settings, key)
    if not folder.is_dir() or folder.is_symlink():
        return True
    with take(folder / "lock") as held:
        if held is not None:
            files.remove_folder(folder)
        return held is not None


def result(folder: Path, payload: dict[str, Any]) -> dict[str, Any] | None:
    """The job's result, where there is a whole one and it was made from this payload."""
    try:
        stored = files.read_json(folder / "result.json")
        if stored["payload"] == files.hash_of(payload) and stored["digest"] == files.hash_of(stored["result"]):
            return dict(stored["result"])
    except (FileNotFoundError, files.CorruptError, KeyError, TypeError, ValueError):
        pass  # torn, flipped or of another version: as good as none, the job is done again
    return None


def write_result(folder: Path, payload: dict[str, Any], value: dict[str, Any]) -> None:
    """Store the result, bound to its payload and with a hash that finds a torn or changed file."""
    digests = {"payload": files.hash_of(payload), "digest": files.hash_of(value)}
    files.write_json(folder / "result.json", {**digests, "result": value})


def forget_end(folder: Path) -> None:
    """Remove what an earlier worker left about its end, so that nobody takes it for the new one's."""
    for name in ("fault.json", "progress.json"):
        (folder / name).unlink(missing_ok=True)


@contextlib.contextmanager
def take(lock: Path) -> Iterator[int | None]:
    """The lock as an open file, or ``None`` where somebody has it; it is closed, not unlocked, when the block ends.

    So a child that was handed the file keeps the lock.
    """
    lock.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield None
        else:
            yield descriptor
    finally:
        os.close(descriptor)
