"""Keeping a run while a step works on it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import SQLAlchemyError

from evertune.ledger import runs
from evertune.records import EvertuneError, Run, StaleError

log = structlog.get_logger(__name__)


@contextlib.contextmanager
def keep_lease(engine: Engine, run: Run, lease_s: int) -> Iterator[None]:
    """Renew the run's lease in the background, three times a lease, until the block ends.

    A step may take hours, and a lease that ran out would hand its run to somebody else in the middle of it. A renewal
    that fails is only logged: whether this owner still has the run is decided where it matters, at the commit, which
    checks the token.
    """
    over = threading.Event()
    keeper = threading.Thread(target=_renew, args=(engine, run, lease_s, over), name=f"lease-{run.key}", daemon=True)
    keeper.start()
    try:
        yield
    finally:
        over.set()
        keeper.join()


def _renew(engine: Engine, run: Run, lease_s: int, over: threading.Event) -> None:
    while not over.wait(lease_s / 3):
        try:
            runs.renew(engine, run, lease_s)
        except StaleError as fault:
            log.warning("the run has another owner now", run=run.key, fault=str(fault))
            return
        except (EvertuneError, SQLAlchemyError) as fault:
            log.warning("the lease could not be renewed; trying again", run=run.key, fault=str(fault))
