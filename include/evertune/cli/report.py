"""How an outcome is shown to people: the scores side by side, the verdict with its reasons, where the pictures are."""

from __future__ import annotations

from collections.abc import Mapping

from rich.console import Console
from rich.table import Table

from evertune.records import Decision, Outcome, Recent, Scores, TrafficCounts

_COLOURS = {
    Decision.PROMOTE: "green",
    Decision.UNCHANGED: "cyan",
    Decision.REJECT: "red",
    Decision.NOT_ENOUGH_EVIDENCE: "yellow",
}
_METRICS = {"accuracy": "accuracy", "precision": "precision", "recall": "recall", "f1": "macro-F1"}


def show(outcome: Outcome, console: Console) -> None:
    """Print what came of a run."""
    if outcome.metrics is not None:
        console.print(_scores(outcome))
        if outcome.recent is not None:
            console.print(_recent(outcome, outcome.recent))
        console.print(_per_class(outcome))
    _show_data(outcome, console)
    if outcome.verdict is not None:
        colour = _COLOURS[outcome.verdict.decision]
        console.print(f"\nVerdict: [bold {colour}]{outcome.verdict.decision}[/]", highlight=False)
        for reason in outcome.verdict.reasons:
            console.print(f"  • {reason}", markup=False, highlight=False)
    if outcome.awaiting_approval:
        console.print(f"  It waits for a person: evertune release promote {outcome.project}", highlight=False)
    if outcome.release is not None:
        answers = outcome.release
        console.print(
            f"Generation {answers.generation} answers: model version {answers.model_version}.", highlight=False
        )
    for picture in outcome.pictures:
        console.print(f"Picture: {picture}", markup=False, highlight=False, soft_wrap=True)


def _sides(outcome: Outcome) -> dict[str, Scores]:
    sides = {f"baseline: {name}": scores for name, scores in outcome.baseline.items()}
    if outcome.champion is not None:
        sides["champion"] = outcome.champion
    if outcome.metrics is not None:
        sides["fine-tuned"] = outcome.metrics
    return sides


def _show_data(outcome: Outcome, console: Console) -> None:
    if outcome.rows is not None:
        rows = outcome.rows
        console.print(
            f"Rows: {rows.drawn} drawn, {rows.unlabelled} without a clear label, {rows.quarantined} quarantined, "
            f"{rows.deduplicated} duplicates; {rows.train} train, {rows.validation} validation, {rows.test} test. "
            f"Data version {(outcome.data_version or '')[:12]}.",
            highlight=False,
        )
        if rows.traffic is not None:
            _show_traffic(rows.traffic, console)
    if outcome.notes:
        console.print("To look at:")
    for note in outcome.notes:
        console.print(f"  • {note}", markup=False, highlight=False, soft_wrap=True)


def _show_traffic(rows: TrafficCounts, console: Console) -> None:
    console.print(
        f"Labelled traffic: {rows.labelled} rows, {rows.quarantined} quarantined, {rows.deduplicated} duplicates, "
        f"{rows.left_out} left out; {rows.train} train, {rows.validation} validation, {rows.recent} judged on.",
        highlight=False,
    )


def _recent(outcome: Outcome, found: Recent) -> Table:
    sides = {"champion": found.champion, "fine-tuned": found.challenger}
    return _table(f"{outcome.project}: quality on {found.rows} labelled rows of recent traffic", sides)


def _scores(outcome: Outcome) -> Table:
    return _table(f"{outcome.project}: quality on the test rows ({outcome.method})", _sides(outcome))


def _table(title: str, sides: Mapping[str, Scores | None]) -> Table:
    table = Table(title=title)
    table.add_column("model")
    for name in _METRICS.values():
        table.add_column(name, justify="right")
    for side, scores in sides.items():
        if scores is None:
            continue
        style = "bold" if side == "fine-tuned" else None
        table.add_row(side, *(f"{getattr(scores, metric):.3f}" for metric in _METRICS), style=style)
    return table


def _per_class(outcome: Outcome) -> Table:
    table = Table(title="Per class: precision / recall / F1")
    table.add_column("class")
    table.add_column("rows", justify="right")
    sides = _sides(outcome)
    for side in sides:
        table.add_column(side, justify="right")
    assert outcome.metrics is not None  # noqa: S101 - asked for by the caller
    for name, of_class in outcome.metrics.per_class.items():
        cells = [sides[side].per_class[name] for side in sides]
        table.add_row(name, str(of_class.support), *(f"{c.precision:.2f} / {c.recall:.2f} / {c.f1:.2f}" for c in cells))
    return table
