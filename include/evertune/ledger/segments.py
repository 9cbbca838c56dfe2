"""The segments of the traffic log that were drained: one row each, never one an answer.

With each goes one row a project into the queue of what is to be cut into windows: see ``windows.py``.
"""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Engine, select

from evertune.ledger.engine import reading, writing
from evertune.ledger.tables import SegmentRow
from evertune.ledger.traffic_tables import CutRow
from evertune.records import Record


class Segment(Record):
    """One drained segment of the traffic log."""

    id: str
    """Hexadecimal, 16 digits; unique, and in the order of time."""
    node: str
    """The folder of the server that wrote it."""
    opened: datetime
    closed: datetime
    records: int
    bytes: int
    damaged: int
    """Bytes that were no whole record: torn by a crash, or changed since."""
    hours: dict[str, dict[str, int]]
    """Project → hour (``2026-11-22/18``) → records of it."""
    folder: str
    """Where its Parquet files lie."""


def record(engine: Engine, segment: Segment) -> bool:
    """Insert the row once; ``False`` where it was there: a drain that was killed tells it again."""
    with writing(engine) as session:
        if session.get(SegmentRow, segment.id) is not None:
            return False
        session.add(SegmentRow(**segment.model_dump()))
        session.flush()
        session.add_all(CutRow(project=slug, segment=segment.id, cut=0, lost=0) for slug in segment.hours)
        return True


def all(engine: Engine) -> list[Segment]:  # noqa: A001 - reads as `segments.all`
    """Every drained segment, in the order in which they were opened."""
    with reading(engine) as session:
        rows = session.scalars(select(SegmentRow).order_by(SegmentRow.id))
        return [Segment.model_validate({name: getattr(row, name) for name in Segment.model_fields}) for row in rows]
