"""Which release each server answers with, and which one it refused and why: one row a server and project."""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import Engine, delete, select

from evertune.ledger.columns import printable
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import ServerRow
from evertune.records import JsonObject, Record

GONE = timedelta(days=7)
"""A server that has said nothing for so long is no more: those that live say daily what they answer with."""


class Server(Record):
    """What one server last said of one project."""

    server: str
    project: str
    generation: int | None
    """The release that answers there; ``None``: none yet."""
    engine: JsonObject | None
    """What was built of it, and why so."""
    refused_generation: int | None
    """The newer release that it would not take; ``None``: none."""
    reason: str | None
    reported: datetime


def report(  # noqa: PLR0917 - the columns of one row
    engine: Engine,
    server: str,
    project: str,
    generation: int | None,
    engine_report: JsonObject | None,
    refused_generation: int | None = None,
    reason: str | None = None,
) -> None:
    """Say what is so now, in the place of what the server said of the project before. Servers that are gone go."""
    with writing(engine) as session:
        row = session.get(ServerRow, (server, project)) or ServerRow(server=server, project=project)
        row.generation = generation
        row.engine = engine_report
        row.refused_generation = refused_generation
        row.reason = printable(reason) if reason else None
        row.reported = clock(session)
        session.add(row)
        session.execute(delete(ServerRow).where(ServerRow.reported < row.reported - GONE))


def all(engine: Engine, project: str | None = None) -> list[Server]:  # noqa: A001 - reads as `servers.all`
    """What every server said, of one project or of all."""
    query = select(ServerRow).order_by(ServerRow.project, ServerRow.server)
    if project is not None:
        query = query.where(ServerRow.project == project)
    with reading(engine) as session:
        return [
            Server.model_validate({name: getattr(row, name) for name in Server.model_fields})
            for row in session.scalars(query)
        ]
