"""What Alembic runs: the migrations, on the connection (and in the transaction) that ``engine.upgrade`` hands over.

``alembic revision --autogenerate`` has none to hand over; then the ledger of the environment is compared.
"""

from typing import Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import Connection

from evertune import settings
from evertune.ledger.columns import Json, Table, Utc
from evertune.ledger.engine import VERSION_TABLE, connect
from evertune.ledger.traffic_tables import WindowRow as _WindowRow  # noqa: F401 - so that the tables are known


def plain(kind: str, item: object, _context: AutogenContext) -> str | Literal[False]:
    """Types of ours as those beneath them: a migration must not change when the code does."""
    if kind == "type" and isinstance(item, Utc):
        return "sa.DateTime(timezone=True)"
    return "sa.Text()" if kind == "type" and isinstance(item, Json) else False


def migrate(connection: Connection) -> None:
    """Run what is to be run on this connection."""
    context.configure(
        connection=connection,
        target_metadata=Table.metadata,
        version_table=VERSION_TABLE,
        render_as_batch=True,  # SQLite cannot alter a column, so a table is copied
        render_item=plain,
    )
    with context.begin_transaction():
        context.run_migrations()


def main() -> None:
    """Find the connection."""
    handed = context.config.attributes.get("connection")
    if handed is not None:
        migrate(handed)
        return
    with connect(settings.load().database_url).begin() as connection:
        migrate(connection)


if __name__ == "env_py":  # the name under which Alembic runs this file; an ordinary import does nothing
    main()
