"""What a connection of each database needs, so that transactions behave alike: hooks for SQLAlchemy's events."""

from __future__ import annotations

import os
import sqlite3
import time

from sqlalchemy import Connection, Engine, event
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, PoolProxiedConnection

BUSY_S = 30
"""Seconds to wait for another writer before giving up."""
REACH_S = 10
"""Seconds to wait for a connection."""
GONE = {"keepalives_idle": 10, "keepalives_interval": 5, "keepalives_count": 3, "tcp_user_timeout": 25_000}
"""A database whose machine vanished is told from a slow one after 25 s: by itself TCP waits a quarter of an hour for
it, and so would whoever reads keys and releases. libpq's names; milliseconds the last one, seconds the others."""


def keep_to_one_process(engine: Engine) -> None:
    """A connection that came along in a fork is dropped unused: two processes on one would spoil each other's work."""
    event.listen(engine, "connect", _note_process)
    event.listen(engine, "checkout", _check_process)


def _note_process(_connection: DBAPIConnection, entry: ConnectionPoolEntry) -> None:
    entry.info["process"] = os.getpid()


def _check_process(_connection: DBAPIConnection, entry: ConnectionPoolEntry, proxy: PoolProxiedConnection) -> None:
    if entry.info["process"] != os.getpid():
        entry.dbapi_connection = proxy.dbapi_connection = None  # type: ignore[misc] # as SQLAlchemy's manual does it
        raise DisconnectionError("the connection belongs to the process that this one was forked from")


def prepare_sqlite(connection: DBAPIConnection, _record: object) -> None:
    """A new connection: write-ahead log, foreign keys."""
    prepare_sqlite_for_upgrade(connection, _record)
    connection.cursor().execute("PRAGMA foreign_keys = ON")


def prepare_sqlite_for_upgrade(connection: DBAPIConnection, _record: object) -> None:
    """A new connection: write-ahead log, so that readers and the writer do not wait for each other.

    Python's own transaction handling begins too late (after the reads) and never IMMEDIATE, so it is switched off.
    """
    connection.isolation_level = None
    deadline = time.monotonic() + BUSY_S
    while True:
        try:
            connection.cursor().execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as fault:
            # The switch to WAL does not wait as other statements do, and the first users of a new file meet here.
            if "locked" not in str(fault) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def begin_sqlite(connection: Connection) -> None:
    """A writer takes the write lock before it reads, so that what it has read stays true."""
    connection.exec_driver_sql("BEGIN IMMEDIATE" if _writes(connection) else "BEGIN")


def prepare_postgresql(connection: DBAPIConnection, _record: object) -> None:
    """A new connection: UTC, bounded waits.

    The last setting ends a transaction whose process was stopped or whose machine vanished, and so frees its lock.
    """
    cursor = connection.cursor()
    cursor.execute(
        f"SET timezone = 'UTC'; SET lock_timeout = '{BUSY_S}s'; SET idle_in_transaction_session_timeout = '60s'"
    )
    cursor.close()
    connection.commit()


def begin_postgresql(connection: Connection) -> None:
    """A writer takes the ledger's lock before it reads; it falls away with the transaction, however that ends."""
    if _writes(connection):
        connection.exec_driver_sql("SELECT pg_advisory_xact_lock(hashtext('evertune ledger ' || current_schema()))")


def _writes(connection: Connection) -> bool:
    return bool(connection.get_execution_options().get("writes"))
