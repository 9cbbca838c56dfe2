"""The processes of the embedded installation: which were started, which of them run, and how all of them end.

What was started is written down with its creation time, so that no other process that got the same number later is
taken for it.
"""

from __future__ import annotations

import contextlib
import os

import psutil

from evertune import files
from scripts.installation import MARK, Embedded


def records(embedded: Embedded) -> dict[str, dict[str, float]]:
    """What was started, by component: its number (``pid``) and when it was ``created``."""
    path = embedded.folder / "processes.json"
    return files.read_json(path) if path.exists() else {}


def alive(record: dict[str, float]) -> psutil.Process | None:
    """The process that was started, where it still runs."""
    try:
        process = psutil.Process(int(record["pid"]))
        same = abs(process.create_time() - record["created"]) < 0.01
    except psutil.NoSuchProcess:
        return None
    return process if same and process.status() != psutil.STATUS_ZOMBIE else None


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
    for record in records(embedded).values():
        if int(record["pid"]) == session and process.create_time() >= record["created"] - 0.01:
            return alive(record) is not None or not psutil.pid_exists(session)
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
    for name, record in records(embedded).items():
        if (process := alive(record)) is None:
            continue
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                sockets = member.net_connections(kind="inet")
                found += [(name, s.laddr.ip, s.laddr.port) for s in sockets if s.status == psutil.CONN_LISTEN]
    return sorted(set(found))
