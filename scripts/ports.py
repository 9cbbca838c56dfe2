"""The ports of the embedded installation: which are wanted, and which of them can be had."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Collection, Iterable, Mapping

from evertune.records import EvertuneError, UnfitError

USUAL = {"airflow_port": 8080, "mlflow_port": 5000, "serving_port": 8000, "evidently_port": 8085}
"""Taken where they are free, else the next one; AIRFLOW_PORT, MLFLOW_PORT … in the environment say others."""
SERVERS = {
    "airflow-api-server": "airflow_port",
    "mlflow": "mlflow_port",
    "evertune-serve": "serving_port",
    "evidently": "evidently_port",
}
"""Which component listens on which."""
LAST = 65535


def choose(names: Iterable[str], recorded: Mapping[str, int]) -> dict[str, int]:
    """A port for each name: what the environment says, else the one from before, else the first that is free.

    Raises :class:`EvertuneError` where the environment says one that cannot be had: a person counts on it.
    """
    chosen: dict[str, int] = {}
    for name in names:
        if (port := said(name)) is not None:
            if other := next((one for one, taken in chosen.items() if taken == port), None):
                raise UnfitError(
                    f"{other.upper()} and {name.upper()} are both {port}. Set one of them to another port."
                )
            _demand(name, port)
            chosen[name] = port
    kept = {name: port for name, port in recorded.items() if name not in names}
    for name in names:
        if name not in chosen:
            chosen[name] = _free(recorded.get(name), USUAL[name], but=[*chosen.values(), *kept.values()])
    return chosen


def said(name: str) -> int | None:
    """The port that the environment says, as AIRFLOW_PORT does for ``airflow_port``; ``None`` where it says nothing."""
    text = os.environ.get(name.upper(), "").strip()
    if not text:
        return None
    if not re.fullmatch(r"[0-9]{1,5}", text) or not 1 <= int(text) <= LAST:
        raise UnfitError(
            f"{name.upper()} is {text!r}: expected a port, a whole number from 1 to {LAST}. Set it to one, or leave it "
            f"unset for {USUAL[name]} or the next that is free."
        )
    return int(text)


def check(component: str, port: int, *, runs: bool) -> None:
    """Raise :class:`EvertuneError` where a component cannot have the port on which the others look for it."""
    name = SERVERS[component]
    if runs and said(name) not in (None, port):
        raise EvertuneError(
            f"{name.upper()} is {said(name)}, and {component} runs on port {port}. `make down` ends it, and then "
            f"`make up` starts it there; or leave {name.upper()} unset."
        )
    if not runs and (why := _fault(port)):
        raise EvertuneError(
            f"{component} has ended, and cannot start again on port {port}: {why}. What else runs looks for it there: "
            "`make down` ends that, and then `make up` takes a port that is free."
        )


def _demand(name: str, port: int) -> None:
    if why := _fault(port):
        raise EvertuneError(
            f"{name.upper()} is {port}, and on that port nothing can be started: {why}. End what holds it, set "
            f"{name.upper()} to another port, or leave it unset for the first that is free."
        )


def _free(before: int | None, usual: int, but: Collection[int]) -> int:
    tried: list[int] = [before or usual, *range(usual, usual + 100)]
    for port in tried:
        if port not in but and not _fault(port):
            return port
    raise EvertuneError(f"No free port from {usual} to {usual + 99} on 127.0.0.1. End what holds them.")


def _fault(port: int) -> str:
    """Why nothing can listen on the port of 127.0.0.1; empty where something can."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as refused:
            return refused.strerror or str(refused)
    return ""
