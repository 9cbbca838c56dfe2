"""Drained segments and windows, without a log behind them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine

from evertune.ledger import events, segments, triggers, windows
from evertune.ledger.cutting import Outline, Pending
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.segments import Segment
from evertune.ledger.tables import ReleaseRow
from evertune.project.monitoring_options import WindowOptions
from evertune.records import Run, Window

NOON = datetime.now(UTC).replace(second=0, microsecond=0) - timedelta(hours=6)
"""When the traffic of these tests began: lately, since a window is also cut where its first answer has become old."""


def drained(ledger: Engine, number: int, records: int = 6, project: str = "spam") -> None:
    moment = NOON + timedelta(minutes=number)
    hours = {project: {f"{moment:%Y-%m-%d/%H}": records}}
    segments.record(
        ledger,
        Segment(
            id=f"{number:016x}", node="shop-c0ffee", opened=moment, closed=moment, records=records, bytes=1000,
            damaged=0, hours=hours, folder="/srv/traffic/parquet",
        ),
    )  # fmt: skip


def read(pending: Pending) -> Outline:
    """Every record is an answer of generation 1."""
    count = sum(pending.hours.values())
    moment = NOON + timedelta(minutes=int(pending.segment, 16))
    return Outline([1] * count, [moment] * count)


def window(ledger: Engine, number: int, generation: int = 1, rows: int = 300, project: str = "spam") -> Window:
    """The window of this number, cut from a segment of its own."""
    drained(ledger, number, rows, project)

    def outline(pending: Pending) -> Outline:
        return Outline([generation] * rows, [NOON + timedelta(minutes=int(pending.segment, 16))] * rows)

    made = windows.cut(ledger, project, outline, WindowOptions(rows=rows, fewest_rows=rows))
    assert made is not None
    assert made.number == number
    return made


def released(ledger: Engine, run: Run, generation: int = 1) -> None:
    """A release of this run, as a promotion leaves it."""
    with writing(ledger) as session:
        row = ReleaseRow(
            project=run.project, generation=generation, model_version=generation, digest=f"digest {generation}",
            run_key=run.key, kind="promote", approved_by="gate", traffic_share=1.0, created=clock(session),
        )  # fmt: skip
        session.add(row)
        events.append(session, run.project, events.Kind.RELEASE, events.release_payload(row))


def unheard(ledger: Engine, project: str) -> bool:
    """Whether an alert asked for a run and it is time to wake somebody for it."""
    since = triggers.unheard_from(ledger, project)
    with reading(ledger) as session:
        return since is not None and clock(session) >= since
