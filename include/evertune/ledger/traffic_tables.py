"""The tables of what comes after a release: windows of traffic, what was found in them, alerts. As in ``tables.py``."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, ForeignKeyConstraint, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from evertune.ledger.columns import Table


class CutRow(Table):
    """How far a segment's answers of one project are cut into windows.

    ``segments.py`` inserts and removes, ``windows.py`` goes on.

    Rows that are not done are the queue of what is still to be cut, so that no one has to look through all segments.
    """

    __tablename__ = "cuts"
    __table_args__ = (
        Index(
            "ix_cuts_open",
            "project",
            "segment",
            sqlite_where=text("done IS NULL"),
            postgresql_where=text("done IS NULL"),
        ),
    )

    project: Mapped[str] = mapped_column(primary_key=True)
    segment: Mapped[str] = mapped_column(ForeignKey("segments.id"), primary_key=True)
    cut: Mapped[int]
    """Answers that are in a window; the first that is in none yet has this number."""
    answers: Mapped[int | None]
    """All of the project's in the segment, as first counted."""
    lost: Mapped[int]
    """Records passed over, because their file was gone or torn."""
    done: Mapped[datetime | None]


class WindowRow(Table):
    """A window of traffic: inserted once, never changed. Only ``windows.py`` writes here."""

    __tablename__ = "windows"

    project: Mapped[str] = mapped_column(primary_key=True)
    number: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    generation: Mapped[int]
    rows: Mapped[int]
    stragglers: Mapped[int]
    parts: Mapped[list[Any]]
    since: Mapped[datetime]
    until: Mapped[datetime]
    labels_until: Mapped[datetime]
    created: Mapped[datetime]


class FindingsRow(Table):
    """What was found in a window: inserted once, after it was tested. Only ``alerts.py`` writes here.

    But for the ``marks``, which go when the next window has been tested.
    """

    __tablename__ = "findings"
    __table_args__ = (ForeignKeyConstraint(["project", "window"], ["windows.project", "windows.number"]),)

    project: Mapped[str] = mapped_column(primary_key=True)
    window: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    findings: Mapped[list[Any]]
    evidence: Mapped[dict[str, Any]]
    labelled: Mapped[int]
    report: Mapped[str]
    """Address of its report; empty where there is none."""
    marks: Mapped[dict[str, Any] | None]
    """Which of the labels dated lately had been counted by then: what comes into the log after it is the next one's."""
    created: Mapped[datetime]


class AlertRow(Table):
    """Traffic that has drifted from what a release knows. Only ``alerts.py`` writes here.

    Texts stand here and not in the audit chain, because they must be erasable.
    """

    __tablename__ = "alerts"
    __table_args__ = (
        UniqueConstraint("project", "key"),
        Index(
            "uq_alerts_open",
            "project",
            "generation",
            unique=True,
            sqlite_where=text("status = 'open'"),
            postgresql_where=text("status = 'open'"),
        ),
        Index(None, "project", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str]
    key: Mapped[str]
    generation: Mapped[int]
    window: Mapped[int]
    until: Mapped[int]
    """Number of the last window that is in it."""
    signals: Mapped[list[str]]
    rows: Mapped[int]
    explanation: Mapped[dict[str, Any] | None]
    status: Mapped[str]
    ruling: Mapped[str]
    created: Mapped[datetime]
    closed: Mapped[datetime | None]
    """When it was answered, found outdated, or had faded."""
