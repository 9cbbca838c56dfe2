"""`log.py --server`: the real `evertune serve`, killed under HTTP load, again and again on the same home.

Each client notes the ids of an answer when it has read it whole; a request that broke off is not sent again. What is
killed is the server alone, with all that it does at that moment: computing, logging, draining, telling the ledger.
"""

from __future__ import annotations

import itertools
import os
import random
import shutil
import signal
import sqlite3
import threading
import time
from dataclasses import replace
from pathlib import Path

import httpx
from benchmarks import _servers
from sqlalchemy import delete

from evertune.ledger import engine as engines
from evertune.ledger import keys
from evertune.ledger.tables import SegmentRow
from evertune.ledger.traffic_tables import CutRow
from evertune.records import UnfitError
from evertune.serving.shelf import CURRENT, Shelf
from evertune.settings import Settings

SEGMENT_S = "1"
"""The shortest that a server takes, so that drains are under way at the kills."""
PAUSE_S = 0.05
"""After a refusal."""


def copied(settings: Settings, slug: str, home: Path) -> str:
    """A home with the project's releases and ledger, and no traffic yet; a key to it.

    Raises :class:`UnfitError` where there is no release on this machine, or no ledger in a file.
    """
    shelf = Shelf(settings.home, slug).folder
    if not settings.database_url.startswith("sqlite:///") or not (shelf / CURRENT).exists():
        raise UnfitError(
            f"There is no release of {slug} in {settings.home} that a server has answered with, or its ledger is no "
            "SQLite file. Run `make demo-quick`, or `evertune run` and `evertune serve` once, and try again."
        )
    shutil.copytree(shelf, Shelf(home, slug).folder)
    with sqlite3.connect(settings.database_url.removeprefix("sqlite:///")) as source:
        source.backup(target := sqlite3.connect(home / "ledger.db"))
        target.close()
    engine = engines.ready(f"sqlite:///{home}/ledger.db")
    with engines.writing(engine) as session:
        for table in (CutRow, SegmentRow):
            session.execute(delete(table))
    _, key = keys.create(engine, name="log", projects=[slug], scopes=["predict"], by="benchmark", rate_per_s=1e5)
    engine.dispose()
    return key


def kill_again_and_again(home: Path, slug: str, key: str, kills: int, *, clients: int = 16, seed: int = 0) -> None:
    """Kill it ``kills`` times under load, and then let it start and end well.

    What was acknowledged is in ``<home>/acknowledged``: an id and the first word of its text a line.
    """
    made = _servers.evertune(slug, key, home)
    server = replace(
        made,
        command=[*made.command, "--segment", SEGMENT_S],
        environment={**made.environment, "EVERTUNE_DATABASE_URL": f"sqlite:///{home}/ledger.db"},
    )
    moments = random.Random(seed)
    with (home / "acknowledged").open("ab", buffering=0) as acknowledged:
        for run in range(kills):
            port = _servers.free_port()
            with _servers.running(server, port) as process:
                where = f"http://127.0.0.1:{port}{server.path}"
                crowd = [
                    threading.Thread(target=_ask, args=(where, server.headers, f"r{run}c{name}", acknowledged.fileno()))
                    for name in range(clients)
                ]
                for one in crowd:
                    one.start()
                time.sleep(0.3 + moments.expovariate(1.0))
                os.killpg(process.pid, signal.SIGKILL)
                for one in crowd:
                    one.join()
    with _servers.running(server, _servers.free_port()):
        pass  # it drains what the last kill left, and ends by SIGINT


def _ask(where: str, headers: dict[str, str], name: str, acknowledged: int) -> None:
    """Ask without a pause until the connection breaks; no two texts are the same."""
    with httpx.Client(headers=headers, timeout=30) as client:
        for number in itertools.count():
            texts = [f"{name}n{number}p{part} " + "a word or two " * (number % 10) for part in range(number % 4 + 1)]
            try:
                response = client.post(where, json={"texts": texts})
                answers = response.json()["predictions"] if response.status_code == httpx.codes.OK else []
            except (httpx.TransportError, ValueError):
                return
            lines = [f"{one['id']} {text.split()[0]}\n" for one, text in zip(answers, texts, strict=False)]
            os.write(acknowledged, "".join(lines).encode())
            if not lines:
                time.sleep(PAUSE_S)
