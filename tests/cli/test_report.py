"""What a person sees of a run."""

from __future__ import annotations

from rich.console import Console

from evertune.cli.report import show
from evertune.loop.tuning_job import _flat
from evertune.records import (
    ClassScores,
    Decision,
    Evaluation,
    Outcome,
    Recent,
    RowCounts,
    Scores,
    TrafficCounts,
    Verdict,
)

CLASS = ClassScores(precision=0.8, recall=0.9, f1=0.84, support=50)
SCORES = Scores(
    rows=100, accuracy=0.85, precision=0.8, recall=0.9, f1=0.84, calibration_error=0.02, log_loss=0.4,
    per_class={"bad": CLASS, "good": CLASS}, confusion=((40, 10), (5, 45)),
)  # fmt: skip
ROWS = RowCounts(drawn=900, quarantined=5, deduplicated=5, train=700, validation=90, test=100)
TRAFFIC = TrafficCounts(labelled=300, quarantined=4, deduplicated=6, left_out=20, train=150, validation=20, recent=100)
RECENT = Recent(
    rows=100, effective_rows=80.0, challenger=SCORES.model_copy(update={"f1": 0.777}),
    champion=SCORES.model_copy(update={"f1": 0.666}),
)  # fmt: skip


def shown(outcome: Outcome) -> str:
    console = Console(width=200, record=True, quiet=False, file=None, force_terminal=False)
    with console.capture() as capture:
        show(outcome, console)
    return capture.get()


def outcome(**more: object) -> Outcome:
    verdict = Verdict(decision=Decision.PROMOTE, reasons=("It is better.",))
    facts: dict[str, object] = {"run_key": "r", "project": "shop", "method": "full", "metrics": SCORES, "rows": ROWS}
    return Outcome.model_validate({**facts, "champion": SCORES, "verdict": verdict, **more})


def test_without_traffic_nothing_is_said_of_it() -> None:
    told = shown(outcome())
    assert "traffic" not in told
    assert "900 drawn" in told


def test_traffic_and_what_was_judged_on_it_are_told() -> None:
    rows = ROWS.model_copy(update={"traffic": TRAFFIC})
    told = shown(outcome(rows=rows, recent=RECENT))
    assert "quality on 100 labelled rows of recent traffic" in told
    assert "0.777" in told
    assert "0.666" in told
    assert "Labelled traffic: 300 rows, 4 quarantined" in told
    assert "150 train, 20 validation, 100 judged on" in told


def test_mlflow_gets_the_same_figures() -> None:
    facts = {"run_key": "r", "dataset_version": "d", "challenger": SCORES, "baselines": {}, "pairs": "p"}
    figures = _flat(Evaluation.model_validate({**facts, "recent": RECENT}))
    assert (figures["recent.f1"], figures["recent.champion.f1"], figures["test.f1"]) == (0.777, 0.666, 0.84)
    assert not any(name.startswith("recent") for name in _flat(Evaluation.model_validate(facts)))


def test_what_somebody_should_look_at_is_told_letter_by_letter() -> None:
    assert "To look at" not in shown(outcome())
    told = shown(outcome(notes=("validation.expectations[0]: no row meets its row_condition [stars]",)))
    assert "To look at:\n  • validation.expectations[0]: no row meets its row_condition [stars]\n" in told
