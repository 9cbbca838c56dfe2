"""DVC as a subprocess: its configuration, its environment, and its failures as sentences.

A subprocess because DVC works on the current directory and keeps locks by process, and because a fault in it must not
take an Airflow task's interpreter along. The command never depends on this machine's paths (``python -m …`` with PATH
set), so that equal inputs give an equal ``dvc.lock`` everywhere.
"""

from __future__ import annotations

import logging
import os
import shlex
import shutil
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from evertune import files, records
from evertune.data import pinning
from evertune.records import CutOffError, EvertuneError, UnreachableError
from evertune.settings import Settings

log = logging.getLogger(__name__)

BUSY = ("is busy", "Unable to acquire lock")
"""What DVC says when another DVC process works in the same workspace: one left over from a task that was killed."""
BUSY_WAIT_S = 1800.0
TAIL = 20
"""Lines of output that an error shows."""
FAULTS = {
    name: kind
    for module in (records, files)
    for name, kind in vars(module).items()
    if isinstance(kind, type) and issubclass(kind, EvertuneError)
}


def config(settings: Settings, *, links: str = "reflink,hardlink,copy", no_scm: bool = True) -> str:
    """Text of ``.dvc/config``: the :func:`options`."""
    return pinning.merged("", options(settings, links=links, no_scm=no_scm))


def options(
    settings: Settings, *, links: str = "reflink,hardlink,copy", no_scm: bool = True
) -> dict[str, dict[str, str]]:
    """DVC's configuration, section by section: no git, no calls home, the shared cache, the remote.

    Without ``no_scm``, ``pull`` in a folder that git ignores says "up to date" and restores nothing.
    """
    return {
        "core": {
            "no_scm": str(no_scm).lower(),
            "analytics": "false",
            "check_update": "false",
            "remote": "storage",
            "site_cache_dir": _quoted(settings.cache / "dvc-site"),
        },
        "cache": {"dir": _quoted(settings.cache / "dvc"), "type": f'"{links}"', "shared": "group"},
        'remote "storage"': {"url": _quoted(settings.remote)},
    }


def _quoted(value: object) -> str:
    mark = "'" if '"' in str(value) else '"'
    return f"{mark}{value}{mark}"


def reach(settings: Settings, *, make: bool = True) -> None:
    """See that the remote's folder is there; raise :class:`UnreachableError` where the place it belongs to is not.

    Made is only the folder itself, and only by who is to ``make`` it: where its parent is missing, a disk is not
    mounted, and data written below the mount point would be lost from sight when it is. Who fetches makes none, as
    there would be nothing in it. Object stores answer when they are used.
    """
    if "://" in settings.remote:
        return
    remote = Path(settings.remote)
    try:
        if make:
            settings.home.mkdir(parents=True, exist_ok=True)
            remote.mkdir(exist_ok=True)
        else:
            os.scandir(remote).close()
    except OSError as fault:
        raise UnreachableError(
            f"The DVC remote {remote} is not there ({fault.strerror}). Mount its disk, or set EVERTUNE_REMOTE to a "
            "folder, s3://bucket/path or gs://bucket/path."
        ) from fault


def run(workspace: Path, settings: Settings, name: str, arguments: Sequence[str]) -> float:
    """Run ``dvc ARGUMENTS`` in the workspace and return the seconds it took; its output goes to the log as it comes.

    Waits while another DVC works in the workspace. Raises the fault that a stage left, or one with DVC's last words.
    """
    started = time.monotonic()
    delay = 0.5
    while True:
        status, output = _once(workspace, settings, name, arguments)
        if status == 0:
            return time.monotonic() - started
        busy = any(word in output for word in BUSY)
        if not busy or time.monotonic() - started > BUSY_WAIT_S:
            raise _fault(workspace, settings, arguments, output)
        log.info("another DVC process works in %s; waiting", workspace)
        time.sleep(delay)
        delay = min(2 * delay, 10.0)


def _once(workspace: Path, settings: Settings, name: str, arguments: Sequence[str]) -> tuple[int, str]:
    # Output goes to a file: a pipe inherited by a stage that outlives DVC would hold whoever reads it.
    path = workspace / "logs" / f"{name}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    command = [settings.python, "-m", "dvc", *arguments]
    with path.open("wb") as sink, path.open("r", encoding="utf-8", errors="replace") as source:
        try:
            process = subprocess.Popen(
                command, cwd=workspace, env=environment(workspace, settings), stdin=subprocess.DEVNULL, stdout=sink,
                stderr=subprocess.STDOUT,
            )  # fmt: skip
        except OSError as fault:
            raise settings.not_started(fault) from fault
        try:
            while (status := _wait(process)) is None:
                _forward(source)
        except BaseException:
            process.terminate()
            process.wait()
            raise
        _forward(source)
    return status, path.read_text("utf-8", errors="replace")


def _wait(process: subprocess.Popen[bytes]) -> int | None:
    try:
        return process.wait(timeout=0.1)
    except subprocess.TimeoutExpired:
        return None


def _forward(source: object) -> None:
    for line in source:  # type: ignore[attr-defined]
        if line.strip():
            log.info("%s", line.rstrip())


def environment(workspace: Path, settings: Settings) -> dict[str, str]:
    """Environment of DVC and its stages: the same settings, the same interpreter, no calls home."""
    named = {f"EVERTUNE_{key.upper()}": str(value) for key, value in settings.model_dump().items()}
    return {
        **os.environ,
        **named,
        "PATH": os.pathsep.join([str(_interpreter(workspace, settings)), os.environ.get("PATH", os.defpath)]),
        "SHELL": "/bin/sh",
        "PYTHONSAFEPATH": "1",  # the workspace's folders must not be found as packages
        "DVC_NO_ANALYTICS": "1",
        "DVC_SITE_CACHE_DIR": str(settings.cache / "dvc-site"),
    }


def _interpreter(workspace: Path, settings: Settings) -> Path:
    """A folder in which ``python`` is the settings' interpreter, whatever that is called and wherever it lies.

    A script and not a link: through a link, a virtual environment's interpreter forgets its packages.
    """
    script = workspace / ".dvc" / "tmp" / "bin" / "python"
    content = f'#!/bin/sh\nexec {shlex.quote(settings.python)} "$@"\n'
    if not script.is_file() or script.read_text("utf-8") != content:
        files.write_text(script, content)
        script.chmod(0o755)
    return script.parent


def _fault(workspace: Path, settings: Settings, arguments: Sequence[str], output: str) -> EvertuneError:
    for path in sorted((workspace / "faults").glob("*.json")):
        left = files.read_json(path)
        return FAULTS.get(left["type"], EvertuneError)(left["message"])
    tail = "\n".join(output.strip().splitlines()[-TAIL:])
    what = f"`dvc {' '.join(arguments)}` failed in {workspace}"
    if "No space left on device" in output:
        return EvertuneError(f"The disk is full: {what}. Free space and run it again.\n{tail}")
    if "cache-types" in output:  # DVC names its link types where it cannot copy, and not why
        free = shutil.disk_usage(workspace).free / 1e6
        return EvertuneError(
            f"{what}: files of the cache could not be put there. Most often the disk is full: {free:.0f} MB are free. "
            f"Free some, or set EVERTUNE_HOME to a larger disk, and run it again.\n{tail}"
        )
    if arguments[0] in {"push", "pull"}:
        return UnreachableError(
            f"{what}: the DVC remote {settings.remote} did not take part. See that it is there and that this machine "
            f"may use it, or set EVERTUNE_REMOTE, and run it again.\n{tail}"
        )
    kind = EvertuneError if "Traceback (most recent call last)" in output else CutOffError
    return kind(f"{what}.\n{tail}")
