"""Whether all of the embedded installation runs and answers, and not another one in its place."""

from __future__ import annotations

import contextlib
import time

import httpx

from evertune.records import EvertuneError
from scripts import processes
from scripts.installation import Embedded

START_S = 180.0
POLL_S = 0.5


def await_all(embedded: Embedded) -> None:
    """Wait until everything answers. Raises :class:`EvertuneError` where something ends, or takes too long."""
    deadline = time.monotonic() + START_S
    while True:
        missing = _missing(embedded)
        for name, recorded in processes.records(embedded).items():
            if not processes.alive(recorded):
                raise EvertuneError(f"{name} ended while starting. Its log: {embedded.folder}/logs/{name}.log")
        if not missing:
            return
        if time.monotonic() > deadline:
            raise EvertuneError(f"{missing} does not answer after {START_S:.0f} s. Logs: {embedded.folder}/logs/")
        time.sleep(POLL_S)


def _missing(embedded: Embedded) -> str:
    """What does not answer yet; empty where all of it does.

    Who listens is looked at first: at an address that is taken, another installation answers that all is well.
    """
    ours = {(name, port) for name, _, port in processes.open_ports(embedded)}
    for name, port in embedded.listeners().items():
        if (name, port) not in ours:
            return name
    try:
        told = httpx.get(f"{embedded.airflow_url}/api/v2/monitor/health", timeout=3).json()
        for part in ("scheduler", "dag_processor"):
            if (told.get(part) or {}).get("status") != "healthy":
                return f"Airflow's {part}"
    except (httpx.HTTPError, ValueError):
        return "Airflow's API server"
    for name, address in {
        "MLflow": f"{embedded.mlflow_url}/health",
        "Evidently": f"{embedded.evidently_url}/api/version",
        "The server": f"{embedded.serving_url}/healthz",
    }.items():
        with contextlib.suppress(httpx.HTTPError):
            if httpx.get(address, timeout=3).status_code == httpx.codes.OK:
                continue
        return name
    return ""
