"""The page that the demo ends with tells the truth of each end that a demo can come to."""

from __future__ import annotations

import time

from scripts.demo import page
from scripts.demo.drift import AFTER, BEFORE, REVIEWS, Loop
from tests.ledger.made import released

from evertune.ledger import runs, steps, triggers
from evertune.records import Cause, Decision, Outcome, Step, Verdict

COUNTS = {"train": 3000, "validation": 500, "test": 1600}


def judged(loop: Loop, key: str, decision: Decision, reason: str) -> None:
    """A run with this verdict; where that is to promote, its release too."""
    assert triggers.request(loop.ledger, loop.slug, Cause.PERSON, key, "a test")
    run = runs.claim(loop.ledger, loop.slug, "one", 60)
    assert run is not None
    evaluation = {"run_key": run.key, "dataset_version": "d", "baselines": {}, "pairs": "p", "challenger": SCORES}
    verdict = Verdict(decision=decision, reasons=(reason,))
    steps.record(loop.ledger, run, Step.PREPARE, {"rows": COUNTS}, 1.0)
    steps.record(loop.ledger, run, Step.TUNE, {"evaluation": evaluation}, 1.0)
    steps.record(loop.ledger, run, Step.JUDGE, verdict.model_dump(mode="json"), 1.0)
    if decision is Decision.PROMOTE:
        released(loop.ledger, run, run.champion + 1)
    runs.finish(loop.ledger, run, Outcome(run_key=run.key, project=loop.slug, method="full", verdict=verdict))


SCORES = {
    "rows": 10, "accuracy": 0.8, "precision": 0.8, "recall": 0.8, "f1": 0.8, "calibration_error": 0.1, "log_loss": 0.4,
    "per_class": {}, "confusion": [],
}  # fmt: skip


def answered(loop: Loop, phase: str, generation: int, rows: int = 40) -> None:
    """Answers of this phase, half of them right."""
    path = loop.settings.home / "demo" / "answers.jsonl"
    lines = [
        f'{{"id": "{phase}{at}", "phase": "{phase}", "truth": "positive", "generation": {generation}, '
        f'"label": "{"positive" if at % 2 else "negative"}", "at": {time.time()}}}\n'
        for at in range(rows)
    ]
    with path.open("a", encoding="utf-8") as stream:
        stream.writelines(lines)


def test_a_challenger_that_was_not_promoted_is_told_of_with_the_reason(loop: Loop) -> None:
    judged(loop, "first", Decision.PROMOTE, "It is better.")
    answered(loop, REVIEWS, 1)
    answered(loop, BEFORE, 1)
    judged(loop, "second", Decision.NOT_ENOUGH_EVIDENCE, "That it is better is not proven.")

    told = page.write(loop).read_text("utf-8")

    assert "No release has followed" in told
    assert "What the gate said: not enough evidence" in told
    assert "That it is better is not proven." in told
    assert "went live" not in told


def test_a_second_release_is_told_of_with_what_it_was_worth(loop: Loop) -> None:
    judged(loop, "first", Decision.PROMOTE, "It is better.")
    answered(loop, REVIEWS, 1)
    answered(loop, BEFORE, 1)
    judged(loop, "second", Decision.PROMOTE, "It is better again.")
    answered(loop, AFTER, 2)

    told = page.write(loop).read_text("utf-8")

    assert "release 2 went live under traffic" in " ".join(told.split())
    assert "No release has followed" not in told


def test_without_an_alert_there_is_no_challenger_to_tell_of(loop: Loop) -> None:
    judged(loop, "first", Decision.PROMOTE, "It is better.")
    answered(loop, REVIEWS, 1)
    answered(loop, BEFORE, 1)

    told = page.write(loop).read_text("utf-8")

    assert "There was none." in told
    assert "What the gate said" not in told
