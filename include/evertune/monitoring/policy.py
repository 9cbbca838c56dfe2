"""Whether an alert starts a retrain: pure, so that every rule, zone and clock can be tested."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import NamedTuple
from zoneinfo import ZoneInfo

from evertune.project.monitoring_options import Policy, QuietHours, Retraining
from evertune.records import Alert

WEEK = timedelta(days=7)


class Facts(NamedTuple):
    """What the policy goes by, besides the alert."""

    labels: int
    """Texts of the drifted traffic with a label that can be learned from."""
    judged: float = 0.0
    """Of these, what a model would be judged on, as rows of equal weight."""
    retrains: Sequence[datetime] = ()
    """When retrains for drift were begun, or asked for where nobody has begun them yet; newest first."""
    generation: int = 1
    """The release that answers."""
    working: bool = False
    """Whether a run is active, which a new request would wait for."""
    groups: int = 0
    """That the rows to judge on belong to."""
    fewest_groups: int = 0
    """On fewer no gain can be proven."""


class Ruling(NamedTuple):
    """What the policy says."""

    retrain: bool
    why: str
    """In words, for people."""


def decide(alert: Alert, facts: Facts, policy: Policy, retraining: Retraining, now: datetime) -> Ruling:
    """Rule on an open alert. ``now`` is the database's time: cooldown and limit hold whatever a worker's clock says.

    What is missing for good (rows, labels) is told before what only has to be waited for. Labels are enough when there
    are also enough of them to judge on: a retrain that is judged on the frozen test rows alone cannot show what it has
    gained on drifted traffic.
    """
    if facts.generation != alert.generation:
        return _no(f"release {alert.generation}, which it accuses, no longer answers")
    if alert.rows < policy.fewest_rows:
        return _no(f"it rests on {alert.rows} answers, {policy.fewest_rows} are asked for")
    if asks := _asks(facts, policy, retraining):
        return Ruling(retrain=False, why=f"No retrain yet: {asks}: label some, at /review.")
    if waits := _waits(facts.retrains, policy, now):
        return _no(waits)
    after = ", after the run that is at work" if facts.working else ""
    return Ruling(retrain=True, why=f"A retrain is asked for{after}, with {facts.labels} labels.")


def _no(why: str) -> Ruling:
    return Ruling(retrain=False, why=f"No retrain yet: {why}.")


def _asks(facts: Facts, policy: Policy, retraining: Retraining) -> str:
    """Which labels are missing; empty where none, or where the project wants none."""
    if policy.fewest_labels == 0:
        return ""
    missing = max(policy.fewest_labels - facts.labels, 0)
    unjudged = retraining.fewest_judged - facts.judged
    ungrouped = facts.fewest_groups - facts.groups
    asks = []
    if unjudged > 0:
        more = max(missing, math.ceil(unjudged / retraining.judged_share))
        asks.append(
            f"worth {facts.judged:.0f} rows to judge on, and {retraining.fewest_judged} are needed for that, so about "
            f"{more} more labels"
        )
    elif missing:
        asks.append(f"{missing} more are needed")
    # Where each row is a group, those that come with the rows that are missing are enough.
    if ungrouped > 0 and (unjudged <= 0 or facts.groups < facts.judged):
        more = math.ceil(ungrouped / retraining.judged_share)
        asks.append(
            f"those to judge on are of {facts.groups} group{'s' * (facts.groups != 1)} (documents, customers) "
            f"and no gain can be proven on fewer than {facts.fewest_groups}, so labels of about {more} more groups"
        )
    return f"{facts.labels} of the drifted texts have a usable label, {'; '.join(asks)}" if asks else ""


def _waits(retrains: Sequence[datetime], policy: Policy, now: datetime) -> str:
    """What has to be waited for; empty where nothing."""
    over = max(retrains, default=None)
    cooldown = timedelta(hours=policy.cooldown_hours)
    if policy.retrains_per_week and over is not None and now - over < cooldown:
        return f"the last one was begun at {over:%Y-%m-%d %H:%M} UTC, and {policy.cooldown_hours:g} hours must pass"
    return holds(retrains, policy, now)


def holds(begun: Sequence[datetime], policy: Policy, now: datetime) -> str:
    """Why a retrain that the policy has let through is not begun now, or not again; empty where it may be.

    The cooldown is over for it; between a run that failed and the next there are pauses (`ledger/triggers.py`).
    ``begun`` is empty where a run that was cut off is only taken over.
    """
    if policy.retrains_per_week == 0:
        return "the project wants none by itself (`retrains_per_week: 0`)"
    lately = sum(now - one < WEEK for one in begun)
    if lately >= policy.retrains_per_week:
        return f"there were {lately} in the last seven days, {policy.retrains_per_week} are allowed"
    if policy.quiet_hours and is_quiet(policy.quiet_hours, now):
        hours = policy.quiet_hours
        return f"these are quiet hours ({hours.start} to {hours.end}, {hours.timezone})"
    return ""


def is_quiet(hours: QuietHours, now: datetime) -> bool:
    """Whether ``now`` is in them, by the clocks of their zone, which skip and repeat hours. Equal times: all day."""
    clock = f"{now.astimezone(ZoneInfo(hours.timezone)):%H:%M}"
    if hours.start < hours.end:
        return hours.start <= clock < hours.end
    return clock >= hours.start or clock < hours.end
