"""The processes of the embedded installation: which were started, which of them run, and how all of them end.

What was started is written down with when it began, so that no other process that got the same number later is taken
for it.
"""

from __future__ import annotations

import contextlib
import math
import os
from pathlib import Path
from typing import Any

import psutil

from evertune import files
from scripts.installation import MARK, Embedded

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def records(embedded: Embedded) -> dict[str, dict[str, Any]]:
    """What was started, by component, as :func:`record` tells it."""
    path = embedded.folder / "processes.json"
    return files.read_json(path) if path.exists() else {}


def record(process: psutil.Process) -> dict[str, Any]:
    """What is written down of a process: its number (``pid``) and when it was ``created``.

    That is a time of day, which on Linux moves with the clock, also for what runs already. So there the ``ticks`` from
    the boot to its start stand beside it, and which ``boot`` that was.
    """
    told: dict[str, Any] = {"pid": process.pid, "created": process.create_time()}
    with contextlib.suppress(OSError):  # no Linux
        after_name = Path(f"/proc/{process.pid}/stat").read_bytes().rpartition(b")")[2].split()
        told |= {"boot": _BOOT.read_text("ascii").strip(), "ticks": int(after_name[19])}
    return told


def _later(process: psutil.Process, recorded: dict[str, Any]) -> float:
    """How much later than the recorded one the process began: 0 where it is that one, none after another boot."""
    told = record(process)
    if "ticks" in told and "ticks" in recorded:  # earlier versions wrote down the time of day alone
        return told["ticks"] - recorded["ticks"] if told["boot"] == recorded["boot"] else -math.inf
    return float(told["created"] - recorded["created"])


def alive(recorded: dict[str, Any]) -> psutil.Process | None:
    """The process that was started, where it still runs."""
    try:
        process = psutil.Process(int(recorded["pid"]))
        same = abs(_later(process, recorded)) < 0.01 and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if same else None


def offspring(embedded: Embedded) -> list[psutil.Process]:
    """Every process that carries the installation's mark: tasks, and trainings, which are in sessions of their own.

    A training that is ended goes on from its last checkpoint when the installation is up again.
    """
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.NoSuchProcess, psutil.AccessDenied, ProcessLookupError):
            if process.status() == psutil.STATUS_ZOMBIE:
                continue
            if process.environ().get(MARK) == str(embedded.settings.home) or _in_session(embedded, process):
                found.append(process)
    return found


def _in_session(embedded: Embedded, process: psutil.Process) -> bool:
    """Whether the process is in the session of one that was started here.

    Airflow's workers write their title over their environment, and with it over the mark. A session's number is given
    to nobody else while it has a member, so it is ours unless its leader is somebody else by now.
    """
    session = os.getsid(process.pid)
    for recorded in records(embedded).values():
        if int(recorded["pid"]) == session and _later(process, recorded) > -0.01:
            return alive(recorded) is not None or not psutil.pid_exists(session)
    return False


def end(processes: list[psutil.Process]) -> None:
    """End them, by force where they do not by themselves."""
    for how in (psutil.Process.terminate, psutil.Process.kill):
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                how(process)
        _, processes = psutil.wait_procs(processes, timeout=5)


def open_ports(embedded: Embedded) -> list[tuple[str, str, int]]:
    """What the installation's processes listen on, as (component, address, port)."""
    found = []
    for name, recorded in records(embedded).items():
        if (process := alive(recorded)) is None:
            continue
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                sockets = member.net_connections(kind="inet")
                found += [(name, s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN]
    return sorted(set(found))
