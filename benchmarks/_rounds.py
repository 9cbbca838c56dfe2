"""What the ledger says of the rounds of `triggers.py`: nothing lost, nothing doubled, one at a time."""

from __future__ import annotations

import statistics
from collections import Counter
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import Engine, select

from evertune.ledger import engine as engines
from evertune.ledger import events, runs, triggers
from evertune.ledger.tables import ReleaseRow, TriggerRow
from evertune.ledger.traffic_tables import AlertRow
from evertune.records import AlertStatus, Cause

MONITORS = 32
BAD = ("lost", "doubled", "too early", "two active", "faults of the chain")
"""What there must be none of."""


def judge(engine: Engine, project: str, rounds: int, passed: int, cooldown: timedelta) -> dict[str, object]:
    """What the ledger says of it all; ``passed`` rounds raised no alert, since another release answered by then."""
    with engines.reading(engine) as session:
        asked = [row for row in session.scalars(select(TriggerRow)) if row.key != "the first"]
        raised = list(session.scalars(select(AlertRow)))
        made = list(session.scalars(select(ReleaseRow)))
    newest = max(row.generation for row in made)
    outdated = [row for row in asked if row.answer == triggers.UNANSWERED and (row.generation or newest) < newest]
    lost = [row for row in asked if row.answer != triggers.VERDICT and row not in outdated]
    doubled = [row for row in asked if row.runs != (0 if row in outdated else 1)]
    drift = {row.key: row.created for row in asked if row.cause == Cause.ALERT.value}
    gaps = [later - earlier for earlier, later in pairwise(sorted(drift.values()))]
    unasked = [row for row in raised if row.status == AlertStatus.ANSWERED and row.key not in drift]
    active, twice, resumed = None, 0, 0
    absorbed: Counter[str] = Counter()
    told = events.undelivered(engine, 10_000_000)
    for one in told:
        if one.kind == events.Kind.STARTED:
            twice += active is not None
            active = one.payload["run"]
            absorbed.update(one.payload["triggers"])
        elif one.kind == events.Kind.VERDICT:
            twice += one.payload["run"] != active
            active = None
        resumed += one.kind == events.Kind.RESUMED
    wanted = len(drift) + rounds * MONITORS // 2
    runs_released = len({row.run_key for row in made})
    return {
        "rounds": rounds,
        "alerts": len(raised),
        "outdated": sum(row.status == AlertStatus.OUTDATED for row in raised),
        "releases": len(made),
        "requests": len(asked),
        "runs": sum(one.kind == events.Kind.STARTED for one in told) - 1,
        "takeovers": resumed,
        "lost": len(lost) + len(unasked) + wanted - len(asked) + rounds - passed - len(raised),
        "doubled": len(doubled) + sum(count > 1 for count in absorbed.values()) + len(made) - runs_released,
        "too early": sum(gap < cooldown for gap in gaps),
        "two active": twice,
        "faults of the chain": len(events.verify(engine)),
        "median ms from alert to claim": f"{statistics.median(delays(engine, project)) * 1000:.0f}",
    }


def delays(engine: Engine, project: str) -> list[float]:
    begun = {run.key: run.created for run in runs.history(engine, project, 10_000_000)}
    with engines.reading(engine) as session:
        drift = session.scalars(select(TriggerRow).where(TriggerRow.cause == Cause.ALERT.value))
        return [(begun[row.run_key] - row.created).total_seconds() for row in drift if row.run_key]
