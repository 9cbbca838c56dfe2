"""kill -9 just before and just after each commit of a run. One run is killed at all of them, one after another.

The processes are forked from one that has imported the libraries, so that each costs a second and not five.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests import quick
from tests.quick import SLUG

from evertune import loop
from evertune.ledger import engine, events, releases, runs, steps
from evertune.project.load import find, load
from evertune.records import Decision, Step
from evertune.releases import mlflow, promote
from evertune.releases.mlflow.store import MissingError, connect
from evertune.settings import Settings

pytestmark = pytest.mark.faults

LEASE_S = 1
RELEASE, VERDICT = "release", "verdict"
COMMITS = [*(step.value for step in Step if step is not Step.PROMOTE), RELEASE, Step.PROMOTE.value, VERDICT]
"""What a run writes into the ledger for good, in its order."""
POINTS = [f"{when} {commit}" for commit in COMMITS for when in ("before", "after")]


def _killed(point: str, work: Callable[..., Any], commit: str | None = None) -> Callable[..., Any]:
    """``work``, which commits ``commit`` or the step that it is given, with the process ended at ``point``."""

    def call(*given: Any, **named: Any) -> Any:
        name = commit or given[2]
        if point == f"before {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        result = work(*given, **named)
        if point == f"after {name}":
            os.kill(os.getpid(), signal.SIGKILL)
        return result

    return call


def _run(where: Settings, point: str) -> None:
    """What each process does: a whole pass, or as much of it as lies before ``point``."""
    steps.record = _killed(point, steps.record)
    promote.promote = _killed(point, promote.promote, RELEASE)
    runs.finish = _killed(point, runs.finish, VERDICT)
    loop.run(load(find(SLUG, where)), where)


@pytest.fixture
def attempt(tmp_path: Path, registry: Path) -> Callable[[str], tuple[Settings, int | None]]:
    where = quick.home(tmp_path, registry).model_copy(update={"lease_s": LEASE_S})
    quick.write(where)
    forks = multiprocessing.get_context("forkserver")
    forks.set_forkserver_preload([__name__, "mlflow", "evertune.evaluation.gate"])

    def call(point: str) -> tuple[Settings, int | None]:
        process = forks.Process(target=_run, args=(where, point))
        process.start()
        process.join(600)
        return where, process.exitcode

    return call


def test_a_run_that_is_killed_at_every_commit_is_finished_once(
    attempt: Callable[[str], tuple[Settings, int | None]],
) -> None:
    for point in POINTS:
        where, ended = attempt(point)
        assert ended == -signal.SIGKILL, point
        _holds(where, point)
        time.sleep(LEASE_S + 0.1)  # else the next one would find the dead one's lease still running
    where, ended = attempt("never")
    assert ended == 0

    ledger = engine.ready(where.database_url)
    after, run = runs.history(ledger, SLUG)
    assert (run.decision, after.decision) == (Decision.PROMOTE, Decision.UNCHANGED), "the last one found nothing to do"
    assert [one.step for one in steps.all(ledger, run.key)] == list(Step)
    assert [one.generation for one in releases.history(ledger, SLUG)] == [1]
    told = Counter(event.kind for event in events.after(ledger, SLUG, 0, limit=100))
    assert told[events.Kind.RELEASE] == 1
    assert told[events.Kind.RESUMED] == len(POINTS) - 1
    assert (where.jobs / run.key / "log.txt").read_text().count("--- 20") == 1, "it was trained once"
    assert mlflow.alias(where, SLUG) == 1
    with pytest.raises(MissingError):
        connect(where).version(SLUG, 2)


def _holds(where: Settings, point: str) -> None:
    """The ledger has what was committed before the kill, and nothing of what came after it."""
    ledger = engine.ready(where.database_url)
    done = COMMITS[: POINTS.index(point) // 2 + point.startswith("after")]
    run = runs.history(ledger, SLUG)[-1]
    recorded = [one.step.value for one in steps.all(ledger, run.key)]
    assert recorded == [commit for commit in done if commit in list(Step)]
    assert len(releases.history(ledger, SLUG)) == (RELEASE in done)
    assert (run.decision is not None) == (VERDICT in done)
