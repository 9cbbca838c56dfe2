"""The caller's side of a job: look for its result, wait for its worker, start one where there is none."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NoReturn

from evertune import files
from evertune.jobs.folder import LOCK_FD, CancelledError, cancelled, folder_of, forget_end, result, take
from evertune.records import EvertuneError
from evertune.settings import Settings

_TAIL_BYTES = 4096
_CANCEL_PATIENCE_S = 60.0


def attach(
    settings: Settings,
    key: str,
    module: str,
    payload: dict[str, Any],
    on_progress: Callable[[dict[str, Any]], None],
    *,
    attempts: int = 3,
    poll_s: float = 0.5,
) -> dict[str, Any]:
    """The job's result: the one that is there, or that of the worker at work, or of a worker started now.

    The worker is ``python -m MODULE FOLDER``. ``payload`` is JSON; a result that was made from another payload does not
    count, and ``"gpu": true`` in it gives the worker a GPU of its own where the machine has any. ``on_progress`` gets
    what :func:`report` wrote, whenever that changed.

    Raises what the worker raised where that was an :class:`EvertuneError`; of these, only such as trying again may help
    are tried ``attempts`` times. A worker that ends otherwise (killed, out of memory) is started again, and after
    ``attempts`` ends an :class:`EvertuneError` with the tail of its log is raised. Raises :class:`CancelledError` when
    the job was cancelled.
    """
    job = _Attachment(settings, folder_of(settings, key), module, payload, attempts)
    job.folder.mkdir(parents=True, exist_ok=True)
    while True:
        job.forward(on_progress)
        found = result(job.folder, payload)
        if found is not None:
            job.reap()
            return found
        with take(job.folder / "lock") as held:
            if held is None:
                job.watch()
            else:
                job.start_or_raise(held)
        time.sleep(poll_s)


class _Attachment:
    """What one caller of :func:`attach` knows of the job while it waits."""

    def __init__(self, settings: Settings, folder: Path, module: str, payload: dict[str, Any], attempts: int) -> None:
        self.folder = folder
        self._settings, self._module, self._payload, self._attempts = settings, module, payload, attempts
        self._worker_seen = False
        self._ends = 0
        self._signal = 0
        """That ended the last worker, where that was one and it was ours."""
        self._cancelled_at: float | None = None
        self._progress: tuple[int, int] | None = None
        self._child: subprocess.Popen[bytes] | None = None

    def forward(self, on_progress: Callable[[dict[str, Any]], None]) -> None:
        """Hand on the progress where it changed."""
        try:
            state = (self.folder / "progress.json").stat()
            if self._progress == (state.st_ino, state.st_mtime_ns):
                return
            value = files.read_json(self.folder / "progress.json")
        except (FileNotFoundError, files.CorruptError):
            return
        self._progress = (state.st_ino, state.st_mtime_ns)
        on_progress(value)

    def watch(self) -> None:
        """Somebody works: only a cancelled worker that does not go ends the waiting."""
        self._worker_seen = True
        if self._cancelled_at is None and cancelled(self.folder):
            self._cancelled_at = time.monotonic()
        if self._cancelled_at is not None and time.monotonic() - self._cancelled_at > _CANCEL_PATIENCE_S:
            self._raise_cancelled()

    def start_or_raise(self, held: int) -> None:
        """Nobody works and the lock is ours: start a worker, unless there is a reason to end the waiting."""
        if result(self.folder, self._payload) is not None:
            return  # it came after the caller had looked
        self.reap()
        if cancelled(self.folder):
            self._raise_cancelled()
        if self._worker_seen:
            self._ends += 1
            self._raise_fault()
        self._start(held)
        self._worker_seen = True

    def reap(self) -> None:
        """Leave no zombie of a worker that has ended or is about to, and keep the signal that ended it."""
        self._signal = 0  # the next one to end may be another caller's
        if self._child is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._signal = max(0, -self._child.wait(timeout=10))
                self._child = None

    def _raise_cancelled(self) -> NoReturn:
        raise CancelledError(
            f"Job {self.folder.name} was cancelled. Delete {self.folder / 'cancel'} to let it go on from its last "
            "checkpoint."
        )

    def _raise_fault(self) -> None:
        """Raise for the worker that has just ended, unless it is worth another one."""
        last = self._ends >= self._attempts
        try:
            fault = files.read_json(self.folder / "fault.json")
        except (FileNotFoundError, files.CorruptError):
            fault = None
        if fault is not None and (last or not fault["retry"]):
            raise _error(fault)
        if last:
            raise EvertuneError(
                f"Job {self.folder.name} ended {self._ends} times without a result{_by_signal(self._signal)}. "
                f"Mend what the end of {self.folder / 'log.txt'} names, then run again; it goes on from its last "
                f"checkpoint:\n{_tail(self.folder / 'log.txt')}"
            )

    def _start(self, held: int) -> None:
        files.write_json(self.folder / "job.json", self._payload)
        forget_end(self.folder)
        command = [self._settings.python, "-P", "-m", self._module, str(self.folder)]
        environment = os.environ | self._settings.environment() | {LOCK_FD: str(held), "PYTHONUNBUFFERED": "1"}
        with (self.folder / "log.txt").open("ab") as log:
            log.write(f"--- {datetime.now(UTC).isoformat(timespec='seconds')} {' '.join(command)}\n".encode())
            log.flush()
            try:
                self._child = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    cwd=self.folder,
                    env=environment,
                    pass_fds=(held,),
                    start_new_session=True,
                )
            except OSError as fault:
                raise self._settings.not_started(fault) from fault


def _error(fault: dict[str, Any]) -> EvertuneError:
    """The worker's error again: of its own type where this process knows that, else of its nearest known base."""
    known: dict[str, type[EvertuneError]] = {}
    pending: list[type[EvertuneError]] = [EvertuneError]
    while pending:
        kind = pending.pop()
        if kind.__init__ is EvertuneError.__init__:  # others want more than a message
            known[f"{kind.__module__}.{kind.__qualname__}"] = kind
        pending.extend(kind.__subclasses__())
    error = next((known[name] for name in fault["types"] if name in known), EvertuneError)(fault["message"])
    error.exit_code = fault["exit_code"]
    return error


def _by_signal(number: int) -> str:
    """What is in no log, since the worker had no time to write it."""
    cause = "; the kernel does that where memory runs out (see dmesg)" if number == signal.SIGKILL else ""
    return f", the last time ended by signal {number}{cause}" if number else ""


def _tail(log: Path) -> str:
    try:
        return log.read_bytes()[-_TAIL_BYTES:].decode("utf-8", "replace").strip()
    except OSError as fault:
        return f"(no log: {fault})"
