"""Reach the ledger's database, make or upgrade its tables, and run transactions that behave alike on both databases.

One writer at a time: a write transaction takes SQLite's write lock, or one advisory lock of PostgreSQL, before its
first statement. So it sees all that earlier ones did, two can neither deadlock nor pass each other, and the audit
chain has one order. A ledger writes a few rows a minute; it does not need more.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, make_url, text
from sqlalchemy.exc import ArgumentError, DatabaseError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError
from sqlalchemy.orm import Session

from evertune.ledger import connections, silence
from evertune.records import EvertuneError, UnreachableError
from evertune.settings import masked

VERSION_TABLE = "evertune_version"
"""Not Alembic's default name: Airflow and MLflow keep theirs under that one, and may share the database."""
MIGRATIONS = Path(__file__).parent / "migrations"
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg2",
    "postgresql": "postgresql+psycopg2",
    "postgresql+psycopg2": "postgresql+psycopg2",
}
SET_VARIABLE = "Set EVERTUNE_DATABASE_URL to sqlite:////path/to/ledger.db or postgresql://user@host/database."


def connect(url: str) -> Engine:
    """An engine for the ledger; does not connect yet. Raises :class:`EvertuneError` for a URL that is none."""
    return _engine(_parse(url))


def _parse(url: str) -> URL:
    # Faults are raised `from None`: their own messages quote the URL, and so the password.
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise EvertuneError(f"The ledger's URL cannot be read. {SET_VARIABLE}") from None
    if parsed.drivername not in DRIVERS:
        raise EvertuneError(f"The ledger does not run on {parsed.drivername!r}. {SET_VARIABLE}")
    if parsed.drivername.startswith("sqlite") and parsed.database in (None, "", ":memory:"):
        raise EvertuneError(f"The ledger needs a file: one in memory ends with its process. {SET_VARIABLE}")
    return parsed.set(drivername=DRIVERS[parsed.drivername])


def _engine(url: URL, *, upgrading: bool = False) -> Engine:
    if url.get_backend_name() == "sqlite":
        folder = Path(str(url.database)).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as fault:
            raise UnreachableError(
                f"The ledger's folder cannot be made: {folder}: {fault.strerror}. Let EVERTUNE_HOME name a folder that "
                "can be written, or EVERTUNE_DATABASE_URL another place for the ledger."
            ) from fault
        engine = create_engine(url, connect_args={"timeout": connections.BUSY_S}, hide_parameters=True)
        event.listen(
            engine, "connect", connections.prepare_sqlite_for_upgrade if upgrading else connections.prepare_sqlite
        )
        event.listen(engine, "begin", connections.begin_sqlite)
        connections.keep_to_one_process(engine)
        return engine
    try:
        bounds = {} if upgrading else silence.driver()  # what an upgrade asks may take as long as its tables are large
        engine = create_engine(
            url,
            connect_args={"connect_timeout": connections.REACH_S, **connections.GONE, **bounds},
            hide_parameters=True,
            pool_pre_ping=True,
            pool_timeout=connections.BUSY_S,
        )
    except ImportError as fault:
        raise EvertuneError(
            f"The driver of {url.drivername} is not there ({fault}): pip install psycopg2-binary."
        ) from None
    event.listen(engine, "connect", connections.prepare_postgresql)
    event.listen(engine, "begin", connections.begin_postgresql)
    connections.keep_to_one_process(engine)
    return engine


@contextlib.contextmanager
def writing(engine: Engine) -> Iterator[Session]:
    """One write transaction, alone in the ledger; all of the block is committed, or nothing of it."""
    bound = engine.execution_options(writes=True)
    with _errors_for_people(engine), Session(bound, expire_on_commit=False) as session, session.begin():
        yield session


@contextlib.contextmanager
def reading(engine: Engine) -> Iterator[Session]:
    """One read transaction that sees a single state of the ledger."""
    with _errors_for_people(engine), Session(engine) as session:
        if engine.dialect.name == "postgresql":
            session.connection(execution_options={"isolation_level": "REPEATABLE READ"})
        yield session


def clock(session: Session) -> datetime:
    """The database's time, in UTC. Leases and cooldowns go by it, never by a worker's clock.

    On PostgreSQL it is the time of the call, not of the transaction's begin: waiting for the lock takes time.
    """
    if session.get_bind().dialect.name == "sqlite":
        stamp = session.scalar(text("SELECT strftime('%Y-%m-%d %H:%M:%f', 'now')"))
        return datetime.fromisoformat(str(stamp)).replace(tzinfo=UTC)
    now = session.scalar(text("SELECT clock_timestamp()"))
    assert isinstance(now, datetime)  # noqa: S101 - tells the type checker what PostgreSQL's function returns
    return now.astimezone(UTC)


@contextlib.contextmanager
def _errors_for_people(engine: Engine) -> Iterator[None]:
    """Raise the driver's faults as :class:`UnreachableError`, with the address and without the password."""
    try:
        yield
    except (OperationalError, PoolTimeoutError) as fault:
        raise UnreachableError(
            f"The ledger at {masked(engine.url.render_as_string())} did not answer: {_reason(fault, engine.url)}. "
            "See that the database is there and free, and try again."
        ) from None
    except DatabaseError as fault:
        if type(fault) is not DatabaseError:
            raise
        raise EvertuneError(
            f"{masked(engine.url.render_as_string())} is not a whole ledger: {_reason(fault, engine.url)}. "
            "Restore it from a copy, or set EVERTUNE_DATABASE_URL."
        ) from None


def _reason(fault: Exception, url: URL) -> str:
    reason = " ".join(str(getattr(fault, "orig", None) or fault).split()).rstrip(".")
    return reason.replace(str(url.password), "***") if url.password else reason


def ready(url: str) -> Engine:
    """An engine for a ledger whose tables fit this code. An empty database gets them now.

    Raises :class:`UnreachableError` where there is no database, and :class:`EvertuneError` where its tables are older
    or newer than this code. Costs one small query; Alembic is only imported where there is something to make.
    """
    engine = connect(url)
    try:
        with _errors_for_people(engine), engine.connect() as connection:
            found = revision(connection)
        if found is None:
            upgrade(url)
        else:
            _check(found)
    except BaseException:
        engine.dispose()
        raise
    return engine


def revisions() -> list[str]:
    """The revisions that this code knows, oldest first: by the names of the migrations' files, without Alembic."""
    return sorted(file.stem.split("_")[0] for file in (MIGRATIONS / "versions").glob("v*.py"))


def revision(connection: Connection) -> str | None:
    """The revision of the database's tables; ``None`` where they have not been made."""
    if inspect(connection).has_table(VERSION_TABLE):
        return str(connection.scalar(text(f"SELECT version_num FROM {VERSION_TABLE}")))  # noqa: S608 - a constant
    return None


def _check(found: str) -> None:
    known = revisions()
    if found not in known:
        raise EvertuneError(
            f"The ledger is at revision {found}, newer than this evertune, which knows {known[-1]}. Upgrade evertune."
        )
    if found != known[-1]:
        raise EvertuneError(
            f"The ledger is at revision {found}, this evertune needs {known[-1]}. Stop what runs, make a copy of the "
            "database and run `evertune db upgrade`."
        )


def upgrade(url: str) -> str:
    """Bring the tables to the newest revision, all or nothing, and return it. Safe when several processes come at once.

    Foreign keys are off on SQLite meanwhile, because it changes a table by copying and dropping it; they are checked
    before the commit.
    """
    from alembic import command
    from alembic.config import Config

    engine = _engine(_parse(url), upgrading=True)
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    try:
        with _errors_for_people(engine), engine.execution_options(writes=True).begin() as connection:
            found = revision(connection)
            if found is None and inspect(connection).has_table("runs"):
                raise EvertuneError(
                    f"{masked(engine.url.render_as_string())} holds another program's tables. "
                    "Give the ledger a database or a schema of its own: set EVERTUNE_DATABASE_URL."
                )
            if found is not None and found not in revisions():
                _check(found)
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
            if engine.dialect.name == "sqlite" and connection.exec_driver_sql("PRAGMA foreign_key_check").first():
                raise EvertuneError("The upgrade would leave rows without what they refer to: nothing was changed.")
    finally:
        engine.dispose()
    return revisions()[-1]
