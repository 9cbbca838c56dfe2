"""A light worker: counts to ``steps``, resumes where it stopped, and misbehaves as its payload says."""

from __future__ import annotations

import fcntl
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

from evertune import files, jobs
from evertune.records import EvertuneError, StaleError, UnfitError, UnreachableError


class OwnError(UnfitError):
    """A type that whoever attaches does not know."""


FAULTS = {
    kind.__name__: kind for kind in (EvertuneError, StaleError, UnfitError, UnreachableError, OwnError, ValueError)
}


def main(folder: Path) -> dict[str, Any]:
    payload = files.read_json(folder / "job.json")
    with (folder / "starts").open("a") as starts:
        starts.write(f"{os.getpid()}\n")
    _be_alone(folder)
    checkpoint = folder / "checkpoints" / "step"
    first = int(checkpoint.read_text()) if checkpoint.exists() else 0
    for step in range(first, payload.get("steps", 1)):
        if jobs.cancelled(folder) and not payload.get("deaf"):
            raise jobs.CancelledError("left by itself")
        time.sleep(payload.get("step_s", 0.0))
        files.write_text(checkpoint, str(step + 1))
        jobs.report(folder, {"step": step + 1})
        while step + 1 == payload.get("waits_at") and not (folder / "go").exists():
            time.sleep(0.02)
        if step + 1 == payload.get("kill_at"):
            os.kill(os.getpid(), payload.get("signal", signal.SIGKILL))
    if "fault" in payload and not (folder / "mended").exists():
        raise FAULTS[payload["fault"]]("as the payload says")
    if payload.get("full_disk"):
        with Path("/dev/full").open("w") as stream:
            stream.write("no room")
    if payload.get("exit"):
        print("the last words")
        sys.stdout.flush()
        os._exit(payload["exit"])
    devices = os.environ.get("CUDA_VISIBLE_DEVICES")
    return {"first": first, "session": os.getsid(0) == os.getpid(), "devices": devices, "gpu": _gpus_taken(folder)}


def _be_alone(folder: Path) -> None:
    """Note it where another worker of this job lives: a lock that no starter knows of tells."""
    try:
        fcntl.flock(os.open(folder / "alone", os.O_CREAT | os.O_RDWR), fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        (folder / "two").touch()


def _gpus_taken(folder: Path) -> int:
    return len(list((folder.parents[1] / "locks").glob("gpu-*")))


if __name__ == "__main__":
    time.sleep(float(os.environ.get("TEST_IMPORT_S", "0")))  # as a heavy import would
    jobs.worker(main, grace_s=0.5)
