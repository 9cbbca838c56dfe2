"""Releases: why a person made one.

Revision v0005, after v0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "v0005"
down_revision = "v0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward: one column more, empty for the releases that are there."""
    op.add_column("releases", sa.Column("reason", sa.Text(), nullable=True))
