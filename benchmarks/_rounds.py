"""What the ledger says of the rounds of `triggers.py`: nothing lost, nothing doubled, one at a time."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise

from sqlalchemy import Engine, select

from evertune.ledger import engine as engines
from evertune.ledger import events, runs, triggers
from evertune.ledger.tables import ReleaseRow, RunRow, TriggerRow
from evertune.ledger.traffic_tables import AlertRow
from evertune.records import AlertStatus, Cause

MONITORS = 32
BAD = ("lost", "doubled", "too early", "wrong release", "two active", "faults of the chain")
"""What there must be none of."""


def judge(engine: Engine, project: str, rounds: int, passed: int, cooldown: timedelta) -> dict[str, object]:
    """What the ledger says of it all; ``passed`` rounds raised no alert, since another release answered by then."""
    with engines.reading(engine) as session:
        asked = [row for row in session.scalars(select(TriggerRow)) if row.key != "the first"]
        raised = list(session.scalars(select(AlertRow)))
        made = {row.generation: row for row in session.scalars(select(ReleaseRow))}
        met = {row.key: row.champion for row in session.scalars(select(RunRow))}
    outdated = [row for row in asked if row.answer == triggers.UNANSWERED and replaced(made, row)]
    lost = [row for row in asked if row.answer != triggers.VERDICT and row not in outdated]
    lost_alerts = [row for row in raised if row.status == AlertStatus.OUTDATED and not replaced(made, row)]
    doubled = [row for row in asked if row.runs != (0 if row in outdated else 1)]
    drift = {row.key: row.created for row in asked if row.cause == Cause.ALERT.value}
    counted = sorted(row.created for row in asked if row.key in drift and row not in outdated)
    gaps = [later - earlier for earlier, later in pairwise(counted)]
    accused = [row for row in asked if row.key in drift and row.run_key]
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
    waits = delays(engine, project)
    runs_released = len({row.run_key for row in made.values()})
    return {
        "rounds": rounds,
        "alerts": len(raised),
        "outdated": sum(row.status == AlertStatus.OUTDATED for row in raised),
        "releases": len(made),
        "requests": len(asked),
        "runs": sum(one.kind == events.Kind.STARTED for one in told) - 1,
        "takeovers": resumed,
        "lost": len(lost) + len(lost_alerts) + len(unasked) + wanted - len(asked) + rounds - passed - len(raised),
        "doubled": len(doubled) + sum(count > 1 for count in absorbed.values()) + len(made) - runs_released,
        "too early": sum(gap < cooldown for gap in gaps),
        "wrong release": sum(met[str(row.run_key)] != row.generation for row in accused),
        "two active": twice,
        "faults of the chain": len(events.verify(engine)),
        "median ms from alert to claim": f"{statistics.median(waits) * 1000:.0f}" if waits else "none",
    }


def replaced(made: Mapping[int, ReleaseRow], row: TriggerRow | AlertRow) -> bool:
    """Whether another release answered by the time that the row was closed, than the one that it accuses."""
    later = made.get((row.generation or 0) + 1)
    return bool(row.generation and later and row.closed and row.closed >= later.created)


def delays(engine: Engine, project: str) -> list[float]:
    begun = {run.key: run.created for run in runs.history(engine, project, 10_000_000)}
    with engines.reading(engine) as session:
        drift = session.scalars(select(TriggerRow).where(TriggerRow.cause == Cause.ALERT.value))
        return [(begun[row.run_key] - row.created).total_seconds() for row in drift if row.run_key]
