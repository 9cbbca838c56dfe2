"""The ledger's tables. ``migrations/`` makes them; a test holds the two together on both databases."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import ForeignKey, Index, UniqueConstraint, text
from sqlalchemy.orm import Mapped, mapped_column

from evertune.ledger.columns import Table


class RunRow(Table):
    """A pass of the loop. Only ``runs.py`` and ``promote.py`` write here."""

    __tablename__ = "runs"
    __table_args__ = (
        Index(
            "uq_runs_active",
            "project",
            unique=True,
            sqlite_where=text("status = 'active'"),
            postgresql_where=text("status = 'active'"),
        ),
        Index(None, "project", "id"),
        Index(None, "project", "plan_hash"),
        Index(None, "project", "champion"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(unique=True)
    project: Mapped[str]
    owner: Mapped[str]
    token: Mapped[int]
    status: Mapped[str]
    champion: Mapped[int]
    plan_hash: Mapped[str | None]
    reasons: Mapped[list[str]]
    created: Mapped[datetime]
    lease_s: Mapped[int]
    """Seconds by which each commit of the owner moves ``lease_until`` on."""
    lease_until: Mapped[datetime]
    ended: Mapped[datetime | None]
    decision: Mapped[str | None]
    outcome: Mapped[dict[str, Any] | None]
    generation: Mapped[int | None]
    """The release that the run's candidate became."""
    message: Mapped[str | None]
    """Why it failed or was refused. Here and not in the audit chain, because it may quote data and must be erasable."""


class TriggerRow(Table):
    """A request to retrain: pending, then absorbed by a run, then closed by its verdict. Only ``triggers.py`` inserts.

    A run that fails gives its triggers back, so none is lost; ``runs`` counts how often one was absorbed.
    """

    __tablename__ = "triggers"
    __table_args__ = (
        UniqueConstraint("project", "key"),
        Index(
            "ix_triggers_pending",
            "project",
            "id",
            sqlite_where=text("run_key IS NULL AND closed IS NULL"),
            postgresql_where=text("run_key IS NULL AND closed IS NULL"),
        ),
        Index(None, "run_key"),
    )

    id: Mapped[int] = mapped_column(primary_key=True)
    project: Mapped[str]
    cause: Mapped[str]
    key: Mapped[str]
    reason: Mapped[str]
    generation: Mapped[int | None]
    created: Mapped[datetime]
    runs: Mapped[int]
    run_key: Mapped[str | None] = mapped_column(ForeignKey("runs.key"))
    closed: Mapped[datetime | None]
    answer: Mapped[str | None]
    """``verdict``, or ``unanswered``: the release that it accused no longer answered."""


class StepRow(Table):
    """What a step of a run gave: inserted once, after the step, never changed. Only ``steps.py`` writes here."""

    __tablename__ = "steps"

    run_key: Mapped[str] = mapped_column(ForeignKey("runs.key"), primary_key=True)
    step: Mapped[str] = mapped_column(primary_key=True)
    result: Mapped[dict[str, Any]]
    seconds: Mapped[float]
    token: Mapped[int]
    created: Mapped[datetime]


class ReleaseRow(Table):
    """A generation of a project. The newest answers. Only ``releases/promote.py`` writes here, and only inserts."""

    __tablename__ = "releases"

    project: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    model_version: Mapped[int]
    digest: Mapped[str]
    run_key: Mapped[str] = mapped_column(ForeignKey("runs.key"))
    kind: Mapped[str]
    restored: Mapped[int | None]
    """The generation whose model a rollback brought back."""
    approved_by: Mapped[str]
    traffic_share: Mapped[float]
    created: Mapped[datetime]
    reason: Mapped[str | None]
    """What the person said why. Here and not in the audit chain, because it may quote data and must be erasable."""


class EventRow(Table):
    """The audit chain and the outbox of notifications in one. Only ``events.py`` writes here.

    Everything but ``delivered_at`` is under the hash. ``created`` is ISO 8601 text and ``id`` has no gaps, because the
    chain is proved over what is stored, character by character.
    """

    __tablename__ = "events"
    __table_args__ = (
        Index(
            "ix_events_outbox",
            "id",
            sqlite_where=text("delivered_at IS NULL"),
            postgresql_where=text("delivered_at IS NULL"),
        ),
        Index(None, "project", "id"),
    )

    id: Mapped[int] = mapped_column(primary_key=True, autoincrement=False)
    project: Mapped[str]
    kind: Mapped[str]
    payload: Mapped[str]
    created: Mapped[str]
    prev_hash: Mapped[str]
    hash: Mapped[str]
    delivered_at: Mapped[datetime | None]


class KeyRow(Table):
    """A key of the API, without its secret. Only ``keys.py`` writes here. Never deleted: old answers name it."""

    __tablename__ = "keys"

    id: Mapped[str] = mapped_column(primary_key=True)
    name: Mapped[str]
    hash: Mapped[str]
    projects: Mapped[list[str]]
    scopes: Mapped[list[str]]
    rate_per_s: Mapped[float | None]
    created: Mapped[datetime]
    expires: Mapped[datetime | None]
    revoked: Mapped[datetime | None]


class SegmentRow(Table):
    """A drained segment of the traffic log: inserted, and removed when the retention has. Only ``segments.py`` does."""

    __tablename__ = "segments"

    id: Mapped[str] = mapped_column(primary_key=True)
    node: Mapped[str]
    opened: Mapped[datetime]
    closed: Mapped[datetime]
    records: Mapped[int]
    bytes: Mapped[int]
    damaged: Mapped[int]
    hours: Mapped[dict[str, Any]]
    folder: Mapped[str]


class ServerRow(Table):
    """What a server last said of a project. Only ``servers.py`` writes here."""

    __tablename__ = "servers"

    server: Mapped[str] = mapped_column(primary_key=True)
    project: Mapped[str] = mapped_column(primary_key=True)
    generation: Mapped[int | None]
    engine: Mapped[dict[str, Any] | None]
    refused_generation: Mapped[int | None]
    reason: Mapped[str | None]
    reported: Mapped[datetime]


class DeliveryRow(Table):
    """How far a webhook has been told a project's events. Only ``deliveries.py`` writes here."""

    __tablename__ = "deliveries"

    project: Mapped[str] = mapped_column(primary_key=True)
    webhook: Mapped[str] = mapped_column(primary_key=True)
    """Hash of its address, which may hold a secret."""
    until: Mapped[int]
    """Id of the last event that it was told, or that does not concern it."""
    failures: Mapped[int]
    """Tries since the last that got through."""
    retry_at: Mapped[datetime | None]
    fault: Mapped[str | None]
    """Why the last try failed."""
    missed: Mapped[int]
    """Events that were given up after days of tries."""
    holder: Mapped[str | None]
    """Who delivers now, until ``held_until``: two at once could change the order."""
    held_until: Mapped[datetime | None]
