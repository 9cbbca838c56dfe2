"""Processes that claim runs and end them, for `triggers.py`; any of them may be killed in whatever it does."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import random
import signal
import time
from typing import Any

from sqlalchemy import Engine

from evertune.ledger import engine as engines
from evertune.ledger import runs
from evertune.records import Decision, Outcome, Run, StaleError, Verdict
from evertune.releases.promote import promote

FORK = multiprocessing.get_context("fork")
CLAIMANTS = 4
NO_LEASE = 0.7
"""Part of the claims whose lease runs out at once: the next claimant takes the run over from one at work.

Not of all of them. PostgreSQL lets writers in by their turn: if nobody had a lease, the three others would take each
run over before its owner could end it, for ever. A project's lease is a second or more.
"""


def end(engine: Engine, run: Run, decision: Decision = Decision.REJECT) -> None:
    verdict = Verdict(decision=decision, reasons=("no better",))
    runs.finish(engine, run, Outcome(run_key=run.key, project=run.project, method="full", verdict=verdict))


def claimant(url: str, project: str, promotions: float) -> None:
    """Takes whatever run there is, works a moment, and ends it; refused where another has taken it over."""
    engine = engines.ready(url)
    while True:
        with contextlib.suppress(StaleError):
            run = runs.claim(engine, project, f"process {os.getpid()}", int(random.random() >= NO_LEASE))
            if run is None:
                time.sleep(0.005)
                continue
            time.sleep(random.uniform(0, 0.003))
            finish(engine, run, promotions)


def finish(engine: Engine, run: Run, promotions: float) -> None:
    """End the run as whoever had it before would have ended it: by its key it is promoted or not."""
    if int(hashlib.sha256(run.key.encode()).hexdigest()[:8], 16) < promotions * 2**32:
        version = run.champion + 1
        promote(engine, run, run.project, version, f"digest {version}", run.key, expected=run.champion, by="gate")
        end(engine, run, Decision.PROMOTE)
    else:
        end(engine, run)


class Claimants:
    """Processes that work, some of which end before they should."""

    def __init__(self, url: str, project: str, promotions: float) -> None:
        self.arguments = (url, project, promotions)
        self.crowd = [self._started() for _ in range(CLAIMANTS)]

    def _started(self) -> Any:
        process = FORK.Process(target=claimant, args=self.arguments)
        process.start()
        return process

    def kill(self) -> int:
        """One at random, in whatever it does; another takes its place."""
        victim = random.randrange(CLAIMANTS)
        time.sleep(random.uniform(0, 0.02))
        os.kill(self.crowd[victim].pid, signal.SIGKILL)
        self.crowd[victim].join()
        self.crowd[victim] = self._started()
        return 1

    def revive(self) -> None:
        """Another in the place of each that gave up, as a process may."""
        self.crowd = [one if one.is_alive() else self._started() for one in self.crowd]

    def end(self) -> None:
        """All of them."""
        for one in self.crowd:
            one.kill()
            one.join()
