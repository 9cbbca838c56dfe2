"""Windows: which labels had been counted.

Revision v0006, after v0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "v0006"
down_revision = "v0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward: one column more, empty for what is there: of that all counted which was dated early enough."""
    op.add_column("findings", sa.Column("marks", sa.Text(), nullable=True))
