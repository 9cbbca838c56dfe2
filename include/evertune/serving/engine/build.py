"""A verified bundle becomes an engine, once: in a process of its own, because converting needs torch.

The server never imports torch (300 MB and seconds), and what a conversion leaks or crashes on is not the server's.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from importlib.metadata import version
from pathlib import Path

from evertune import files
from evertune.models import bundle, shortage
from evertune.records import EvertuneError, JsonObject
from evertune.serving.engine.native import machine
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import read_report

RECIPE = 6
"""Raised by hand when the conversion makes something else of the same bundle: engines of before are built anew."""
MADE_OF = "made_of.json"
"""File of a built engine that says what it was built from."""
TIMEOUT_S = 1800


_log = logging.getLogger(__name__)
PASSING = 75
"""Exit status of a conversion that failed for want of room or of something else of the machine's (``EX_TEMPFAIL``)."""
_CRASHES = {-signal.SIGABRT, -signal.SIGBUS, -signal.SIGFPE, -signal.SIGILL, -signal.SIGSEGV}
"""Statuses of a process that native code ended."""


class StoppedError(EvertuneError):
    """The server ends: the conversion was ended, too, and nothing of it was left."""


class PassingError(EvertuneError):
    """The conversion had too little memory, room or time: the next time that may be otherwise."""

    retry = True


class _CrashedError(EvertuneError):
    """Native code ended the conversion."""


def build(  # noqa: PLR0917 - what an engine is made of
    bundle_folder: Path,
    digest: str,
    checks: Path | None,
    allowed_loss: float,
    to: Path,
    stop: threading.Event | None = None,
) -> EngineReport:
    """The engine of the bundle as the sealed folder ``to``; one that is there, verifies and fits is used again.

    ``checks`` (Parquet: ``text``, ``truth``) are the rows on which 8 bits must lose no more macro F1 than
    ``allowed_loss``; without any, 32 bits are taken. Raises :class:`CorruptError` where the bundle does not verify,
    :class:`EvertuneError` where the conversion fails, :class:`PassingError` where it may go well the next time,
    :class:`StoppedError` where ``stop`` is set meanwhile.
    """
    bundle.check(bundle_folder, digest)
    made_of = _made_of(digest, checks, allowed_loss)
    if (kept := _kept(to, made_of)) is not None:
        return kept
    given = ["--allowed-loss", str(allowed_loss), *(["--checks", str(checks)] if checks else [])]

    def made(*also: str) -> None:
        with files.full_disk_in_words(to, "the engine"), files.new_folder(to) as aside:
            command = [sys.executable, "-m", "evertune.serving.engine.convert", str(bundle_folder), digest, str(aside)]
            _convert([*command, *given, *also], aside, stop or threading.Event())
            files.write_json(aside / MADE_OF, made_of)

    try:
        made()
    except _CrashedError as crash:
        _log.warning("%s Once more, without own code for this processor.", crash)
        made("--portable")
    return read_report(to)


def copy(engine: Path, digest: str, checks: Path | None, allowed_loss: float, to: Path) -> bool:
    """Take over an engine that was built from the same bundle and rows before, where it verifies.

    A rollback answers with a model that was converted when it first came.
    """
    if to.exists() or _kept(engine, _made_of(digest, checks, allowed_loss)) is None:
        return False
    with files.new_folder(to) as aside:
        for path in engine.iterdir():
            if path.name != files.MANIFEST:
                shutil.copyfile(path, aside / path.name)
    return True


def _made_of(digest: str, checks: Path | None, allowed_loss: float) -> JsonObject:
    return {
        "recipe": RECIPE,
        "bundle": digest,
        "checks": files.sha256(checks) if checks else None,
        "allowed_loss": allowed_loss,
        "onnxruntime": version("onnxruntime"),
        "native": machine.recipe(),
    }


def _kept(engine: Path, made_of: JsonObject) -> EngineReport | None:
    """The report of an engine that is whole and was made of just this."""
    try:
        report = read_report(engine)
        return report if files.read_json(engine / MADE_OF) == made_of else None
    except (files.CorruptError, OSError):
        return None


def _convert(command: list[str], aside: Path, stop: threading.Event) -> None:
    # One thread, and a low priority by itself: requests are answered meanwhile. No hub: all it needs is in the bundle.
    environment = os.environ | {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONWARNINGS": "ignore"}
    with (
        tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace", dir=aside.parent) as said,
        # For what it, torch and a compiler leave, also when it is killed.
        tempfile.TemporaryDirectory(dir=aside, ignore_cleanup_errors=True) as scratch,
    ):
        environment["TMPDIR"] = scratch
        process = subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, stdout=said, stderr=said)
        try:
            _await(process, stop)
        finally:
            process.kill()
            process.wait()
        if process.returncode:
            said.seek(0)
            end = "\n".join([*said.read().strip().splitlines()[-8:], *_unsaid(process.returncode)])
            raise _kind(process.returncode)(
                f"The bundle could not be converted (status {process.returncode}):\n{end}"
            )  # fmt: skip


def _unsaid(status: int) -> list[str]:
    """What a process that was ended had no time to say."""
    if status != -signal.SIGKILL:
        return []
    return [f"The kernel does that where memory runs out (see dmesg). To make it fit: {shortage.LARGER}."]


def _kind(status: int) -> type[EvertuneError]:
    if status in _CRASHES:
        return _CrashedError
    return PassingError if status in (-signal.SIGKILL, PASSING) else EvertuneError


def _await(process: subprocess.Popen[bytes], stop: threading.Event) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while process.poll() is None:
        if stop.wait(0.1):
            raise StoppedError("The server ends; the engine is built when it starts again.")
        if time.monotonic() > deadline:
            raise PassingError(f"Converting a bundle took more than {TIMEOUT_S} s and was ended.")
