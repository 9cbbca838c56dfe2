"""Databases to throw away, of both kinds: for benchmarks, and for the tests of the ledger."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import create_engine, text

POSTGRES = os.environ.get("EVERTUNE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/test")


@contextlib.contextmanager
def sqlite() -> Iterator[str]:
    """URL of an empty database in a file, which is removed afterwards."""
    folder = Path(tempfile.mkdtemp())
    yield f"sqlite:///{folder}/ledger.db"
    shutil.rmtree(folder)


@contextlib.contextmanager
def postgresql() -> Iterator[str]:
    """URL of an empty schema of the server, which is dropped afterwards; ``OperationalError`` where none answers."""
    server = create_engine(POSTGRES, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    schema = f"evertune_throw_away_{uuid.uuid4().hex[:12]}"
    with server.connect() as connection:
        connection.execute(text(f"CREATE SCHEMA {schema}"))
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        server.dispose()
