"""Monitoring: how far the traffic log is cut, windows, what was found in them, alerts.

Revision v0003, after v0002.
"""

import json

import sqlalchemy as sa
from alembic import op

revision = "v0003"
down_revision = "v0002"
branch_labels = None
depends_on = None

NOT_DONE = sa.text("done IS NULL")
OPEN = sa.text("status = 'open'")


def upgrade() -> None:
    """Forward: four tables more. What was drained before waits to be cut too."""
    _cuts()
    _windows()
    _findings()
    _alerts()
    _queue_what_is_there()


def _cuts() -> None:
    op.create_table(
        "cuts",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("segment", sa.Text(), nullable=False),
        sa.Column("cut", sa.Integer(), nullable=False),
        sa.Column("answers", sa.Integer(), nullable=True),
        sa.Column("lost", sa.Integer(), nullable=False),
        sa.Column("done", sa.DateTime(timezone=True), nullable=True),
        sa.ForeignKeyConstraint(["segment"], ["segments.id"], name="fk_cuts_segment"),
        sa.PrimaryKeyConstraint("project", "segment", name="pk_cuts"),
    )
    op.create_index("ix_cuts_open", "cuts", ["project", "segment"], sqlite_where=NOT_DONE, postgresql_where=NOT_DONE)


def _windows() -> None:
    op.create_table(
        "windows",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("number", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("stragglers", sa.Integer(), nullable=False),
        sa.Column("parts", sa.Text(), nullable=False),
        sa.Column("since", sa.DateTime(timezone=True), nullable=False),
        sa.Column("until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("labels_until", sa.DateTime(timezone=True), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("project", "number", name="pk_windows"),
    )


def _findings() -> None:
    op.create_table(
        "findings",
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("window", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("findings", sa.Text(), nullable=False),
        sa.Column("evidence", sa.Text(), nullable=False),
        sa.Column("labelled", sa.Integer(), nullable=False),
        sa.Column("report", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["project", "window"], ["windows.project", "windows.number"], name="fk_findings_project"
        ),
        sa.PrimaryKeyConstraint("project", "window", name="pk_findings"),
    )


def _alerts() -> None:
    op.create_table(
        "alerts",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("project", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("generation", sa.Integer(), nullable=False),
        sa.Column("window", sa.Integer(), nullable=False),
        sa.Column("until", sa.Integer(), nullable=False),
        sa.Column("signals", sa.Text(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("explanation", sa.Text(), nullable=True),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("ruling", sa.Text(), nullable=False),
        sa.Column("created", sa.DateTime(timezone=True), nullable=False),
        sa.Column("closed", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("id", name="pk_alerts"),
        sa.UniqueConstraint("project", "key", name="uq_alerts_project_key"),
    )
    op.create_index(
        "uq_alerts_open", "alerts", ["project", "generation"], unique=True, sqlite_where=OPEN, postgresql_where=OPEN
    )
    op.create_index("ix_alerts_project_id", "alerts", ["project", "id"])


def _queue_what_is_there() -> None:
    connection = op.get_bind()
    segments = connection.execute(sa.text("SELECT id, hours FROM segments")).all()
    queued = [{"project": slug, "segment": id_} for id_, hours in segments for slug in json.loads(hours)]
    if queued:
        insert = "INSERT INTO cuts (project, segment, cut, lost) VALUES (:project, :segment, 0, 0)"
        connection.execute(sa.text(insert), queued)
