"""What must hold of every demo, whatever the gate says of the challenger: looked up in the ledger, not assumed."""

from __future__ import annotations

from typing import NamedTuple

from evertune.cli.output import people
from evertune.ledger import alerts, runs
from evertune.records import AlertStatus
from scripts.demo.drift import REVIEWS, Loop

LET_THROUGH = (AlertStatus.TRIGGERED, AlertStatus.ANSWERED)


class Check(NamedTuple):
    """Something that must hold, and whether it does."""

    what: str
    holds: bool
    seen: str


def checks(loop: Loop) -> list[Check]:
    """All of them, as the ledger and this demo's own requests say."""
    false, retrains = _alerts_on_reviews(loop), _retrains(loop)
    through = [alert for alert in alerts.history(loop.ledger, loop.slug) if alert.status in LET_THROUGH]
    accused = {alert.generation for alert in through}
    return [
        Check("no alert while nothing had changed", not false, f"{false} alerts on reviews"),
        Check("each alert that the policy let through started one retrain",
              len(through) == len(accused) == retrains,
              f"{retrains} retrains for drift, {len(through)} alerts let through, of {len(accused)} accused releases"),
        Check("no request was dropped", not loop.failed, f"{len(loop.failed)} failed beside the retrain"),
    ]  # fmt: skip


def show(loop: Loop) -> bool:
    """Print what holds and what does not; whether anything does not."""
    found = checks(loop)
    people.print()
    for check in found:
        mark = "[green]holds[/]" if check.holds else "[bold red]BROKEN[/]"
        people.print(f"  {mark}  {check.what} ({check.seen})", highlight=False)
    return not all(check.holds for check in found)


def _alerts_on_reviews(loop: Loop) -> int:
    """Alerts in windows that hold nothing but the reviews which came first."""
    reviews = len(loop.replay.answered(REVIEWS))
    quiet = {window.number for window, _, end in loop.cut() if end <= reviews}
    return sum(alert.window in quiet for alert in alerts.history(loop.ledger, loop.slug))


def _retrains(loop: Loop) -> int:
    history = runs.history(loop.ledger, loop.slug, limit=100)
    return sum(bool(alerts.absorbed(loop.ledger, loop.slug, run.key)) for run in history)
