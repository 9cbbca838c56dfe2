"""The ports of the embedded installation: which are wanted, and which of them are free."""

from __future__ import annotations

import contextlib
import os
import re
import socket

from evertune.records import EvertuneError, UnfitError

USUAL = {"airflow_port": 8080, "mlflow_port": 5000, "serving_port": 8000, "evidently_port": 8085}
"""Ports that are tried first; AIRFLOW_PORT, MLFLOW_PORT … in the environment say others."""
LAST = 65535


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


def free(wanted: int) -> int:
    """The first port from this one on that nobody listens on."""
    last = min(wanted + 99, LAST)
    for port in range(wanted, last + 1):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise EvertuneError(f"No free port from {wanted} to {last} on 127.0.0.1. End what holds them.")
