from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from evertune.ledger import runs, steps
from evertune.records import Run, StaleError, Step


def test_the_first_result_stands(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start()
    first = {"version": "abc", "rows": 3, "share": 0.1, "text": "naïve \x00 日本語", "none": None, "list": [1, 2.5]}
    assert steps.record(ledger, run, Step.PREPARE, first, 1.5) == first
    assert steps.record(ledger, run, Step.PREPARE, {"version": "other"}, 9.9) == first
    assert steps.result(ledger, run.key, Step.PREPARE) == first


def test_what_comes_back_is_what_a_rerun_would_read(ledger: Engine, start: Callable[..., Run]) -> None:
    assert steps.record(ledger, start(), Step.CLAIM, {"pair": (1, 2)}, 0.0) == {"pair": [1, 2]}


def test_a_step_not_done_is_none(ledger: Engine, start: Callable[..., Run]) -> None:
    assert steps.result(ledger, start().key, Step.TUNE) is None
    assert steps.all(ledger, "no-such-run") == []


def test_all_come_in_the_order_of_the_run(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start()
    for step in (Step.TUNE, Step.CLAIM, Step.PREPARE):
        steps.record(ledger, run, step, {"step": step.value}, 2.0)
    done = steps.all(ledger, run.key)
    assert [one.step for one in done] == [Step.CLAIM, Step.PREPARE, Step.TUNE]
    assert done[0].result == {"step": "claim"}
    assert done[0].seconds == pytest.approx(2.0)


def test_the_new_owner_finds_what_the_dead_one_did(ledger: Engine, start: Callable[..., Run]) -> None:
    dead = start(lease_s=0)
    steps.record(ledger, dead, Step.SNAPSHOT, {"rows": 3}, 1.0)
    taken = runs.claim(ledger, "spam", "two", 60)
    assert taken is not None
    assert steps.record(ledger, taken, Step.SNAPSHOT, {"rows": 4}, 1.0) == {"rows": 3}
    with pytest.raises(StaleError):
        steps.record(ledger, dead, Step.SNAPSHOT, {"rows": 3}, 1.0)


def test_a_number_that_is_none_is_refused(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start()
    with pytest.raises(Exception, match="not JSON compliant"):
        steps.record(ledger, run, Step.TUNE, {"loss": float("nan")}, 1.0)
    assert steps.result(ledger, run.key, Step.TUNE) is None
