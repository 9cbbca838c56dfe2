"""The worker's side of a job: hold the lock, do the work, leave a result or a fault."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from evertune import files
from evertune.jobs import gpus
from evertune.jobs.folder import LOCK_FD, cancelled, forget_end, result, take, write_result
from evertune.records import EvertuneError

BUSY = 75
"""Exit status of a worker that found another one at work (``EX_TEMPFAIL``)."""
CANCELLED = 76
"""Exit status of a worker that was asked to stop and did not."""
_WAIT_S = 1.0


def worker(main: Callable[[Path], dict[str, Any]], grace_s: float = 20.0) -> NoReturn:
    """What ``python -m MODULE FOLDER`` calls, before it imports anything heavy: do the job of that folder and exit.

    ``main`` gets the folder, finds its payload in ``job.json`` and whatever an earlier worker left in ``checkpoints``,
    and returns the result as JSON. When the job is cancelled it has ``grace_s`` seconds to leave by itself.

    The process ends without waiting for threads: what counts is on disk, and a thread that hangs would keep the lock
    and the GPU.
    """
    if len(sys.argv) != 2:
        sys.exit("usage: python -m MODULE FOLDER, where FOLDER is that of a job")
    folder = Path(sys.argv[1]).absolute()
    with _lock(folder / "lock") as held:
        code = _work(folder, main, grace_s) if held else BUSY
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


@contextlib.contextmanager
def _lock(lock: Path) -> Iterator[bool]:
    """Whether this process may work: it was handed the lock by its starter, or takes it (started by hand)."""
    descriptor = int(os.environ.pop(LOCK_FD, "-1"))
    if descriptor >= 0:
        there, handed = lock.stat(), os.fstat(descriptor)
        if (there.st_dev, there.st_ino) == (handed.st_dev, handed.st_ino):
            os.set_inheritable(descriptor, False)  # else a subprocess that outlives this one would hold it
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            yield True
            return
    with take(lock) as held:
        if held is None:
            sys.stderr.write(f"{lock} is held: another worker does this job.\n")
        yield held is not None


def _work(folder: Path, main: Callable[[Path], dict[str, Any]], grace_s: float) -> int:
    """Do the job; the exit status."""
    payload: dict[str, Any] = files.read_json(folder / "job.json")
    if result(folder, payload) is not None:
        return 0
    forget_end(folder)
    threading.Thread(target=_obey, args=(folder, grace_s), daemon=True, name="cancel").start()
    try:
        with gpus.hold(folder) if payload.get("gpu") else contextlib.nullcontext():
            write_result(folder, payload, main(folder))
    except Exception as error:  # noqa: BLE001 - the process ends here; the log and the fault keep what it was
        traceback.print_exc()
        return _write_fault(folder, error)
    return 0


def _obey(folder: Path, grace_s: float) -> None:
    """End the process when it was asked to stop and has not stopped in time."""
    while not cancelled(folder):
        time.sleep(min(_WAIT_S, grace_s))
    time.sleep(grace_s)
    os._exit(CANCELLED)


def _write_fault(folder: Path, error: Exception) -> int:
    """Leave the fault for whoever waits; the exit status.

    Only an error for people becomes ``fault.json``. Anything else is a bug or a machine in trouble: its traceback is in
    the log, and another attempt may do better.
    """
    retry = isinstance(error, EvertuneError) and error.retry
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        error = _disk_full(folder, error)
    if not isinstance(error, EvertuneError):
        return 1
    types = [
        f"{kind.__module__}.{kind.__qualname__}" for kind in type(error).__mro__ if issubclass(kind, EvertuneError)
    ]
    fault = {"types": types, "message": str(error), "exit_code": error.exit_code, "retry": retry}
    with contextlib.suppress(OSError):  # a full disk: the log has it, as far as it could be written
        files.write_json(folder / "fault.json", fault)
    return error.exit_code


def _disk_full(folder: Path, error: OSError) -> EvertuneError:
    where = error.filename or folder
    return EvertuneError(
        f"No space left on the disk of {where} ({error.strerror}). Free some and run again: the last whole checkpoint "
        "is kept."
    )
