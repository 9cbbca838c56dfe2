"""A worker's share of the machine's GPUs: one each, by locks, so that jobs side by side do not crowd onto the first.

The locks are files below ``home``: they bound all projects of the machine, also beside Airflow's pool, which knows
nothing of ``evertune run``. All of it happens before CUDA is imported.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from evertune import settings as settings_module
from evertune.jobs.folder import CancelledError, cancelled, report, take
from evertune.settings import Settings

VISIBLE = "CUDA_VISIBLE_DEVICES"
_DEVICES = Path("/dev")
_WAIT_S = 1.0


@contextlib.contextmanager
def hold(folder: Path) -> Iterator[None]:
    """Hold one of the machine's GPUs while the block runs; wait for one where all are taken.

    Where there is none, or ``EVERTUNE_GPUS`` is 0, the block runs on the CPU and holds nothing. Above the number of
    GPUs it allows no more than these: two trainings on one would each have half of the memory that was found free.
    """
    settings, there = settings_module.load(), devices()
    if not there or settings.gpus < 1:
        os.environ[VISIBLE] = ""
        yield
        return
    with contextlib.ExitStack() as held:
        while (index := _free(settings, min(settings.gpus, len(there)), held)) is None:
            if cancelled(folder):
                raise CancelledError("Cancelled while it waited for a GPU.")
            report(folder, {"phase": "waiting for a GPU"})
            time.sleep(_WAIT_S)
        os.environ[VISIBLE] = there[index]
        yield


def devices() -> list[str]:
    """The GPUs that this process may use, as CUDA names them; asked without importing torch."""
    visible = os.environ.get(VISIBLE)
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in {"", "-1"}]
    nodes = [path.name.removeprefix("nvidia") for path in _DEVICES.glob("nvidia[0-9]*")]
    return [str(number) for number in range(len(nodes) or _listed())]


def _listed() -> int:
    """How many GPUs the driver lists, where none has a device file (Windows' Linux)."""
    if shutil.which("nvidia-smi") is None:
        return 0
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        command = ["nvidia-smi", "-L"]
        lines = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True).stdout.splitlines()
        return sum(line.startswith("GPU ") for line in lines)
    return 0


def _free(settings: Settings, count: int, held: contextlib.ExitStack) -> int | None:
    for index in range(count):
        with contextlib.ExitStack() as attempt:
            if attempt.enter_context(take(settings.home / "locks" / f"gpu-{index}")) is not None:
                held.push(attempt.pop_all())
                return index
    return None
