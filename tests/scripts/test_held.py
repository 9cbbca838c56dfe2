"""What must hold of every demo is looked up: each of it can be found broken."""

from __future__ import annotations

from scripts.demo import held
from scripts.demo.drift import REVIEWS, Loop
from tests.ledger.made import released, window
from tests.scripts.test_page import answered

from evertune.ledger import alerts, runs, triggers
from evertune.records import Cause, Decision, Evidence, Outcome, Run, Signal, Verdict

ROWS = 40


def promoted(loop: Loop) -> None:
    triggers.request(loop.ledger, loop.slug, Cause.PERSON, "the first", "a test")
    run = claimed(loop)
    released(loop.ledger, run)
    ended(loop, run)


def claimed(loop: Loop) -> Run:
    run = runs.claim(loop.ledger, loop.slug, "one", 60)
    assert run is not None
    return run


def ended(loop: Loop, run: Run) -> None:
    verdict = Verdict(decision=Decision.REJECT, reasons=("no better",))
    runs.finish(loop.ledger, run, Outcome(run_key=run.key, project=loop.slug, method="full", verdict=verdict))
    alerts.settle(loop.ledger, loop.slug)


def alert(loop: Loop, number: int, *, drifts: bool = True) -> None:
    """A window of so many answers, with an alert that the policy lets through."""
    about = window(loop.ledger, number, rows=ROWS, project=loop.slug)
    alerts.record(loop.ledger, about, (), Evidence(total=2.0), (Signal.EMBEDDING,) if drifts else ())
    alerts.rule(loop.ledger, loop.slug, lambda *_: (True, "go"))


def broken(loop: Loop) -> list[str]:
    return [" ".join(check.what.split(" ")[:2]) for check in held.checks(loop) if not check.holds]


def test_an_alert_on_the_editorials_with_one_retrain_holds(loop: Loop) -> None:
    promoted(loop)
    answered(loop, REVIEWS, 1, ROWS)
    alert(loop, 1, drifts=False)
    alert(loop, 2)
    ended(loop, claimed(loop))
    assert broken(loop) == []
    assert not held.show(loop)


def test_an_alert_on_the_reviews_is_found(loop: Loop) -> None:
    promoted(loop)
    answered(loop, REVIEWS, 1, ROWS)
    alert(loop, 1)
    ended(loop, claimed(loop))
    assert broken(loop) == ["no alert"]
    assert held.show(loop)


def test_an_alert_that_fires_again_is_found(loop: Loop) -> None:
    promoted(loop)
    for number in (1, 2):
        alert(loop, number)
        ended(loop, claimed(loop))
    assert broken(loop) == ["each alert"]
    assert "2 retrains for drift, 2 alerts let through, of 1 accused" in held.checks(loop)[1].seen


def test_an_alert_that_nobody_answers_is_found(loop: Loop) -> None:
    promoted(loop)
    alert(loop, 1)
    assert broken(loop) == ["each alert"]


def test_a_request_that_failed_is_found(loop: Loop) -> None:
    loop.failed.append("503")
    assert broken(loop) == ["no request"]
