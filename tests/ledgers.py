"""Fixtures of an empty ledger of each kind, for the rooms whose tests take both."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from benchmarks._ledgers import POSTGRES, postgresql
from sqlalchemy import Engine, make_url
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError

from evertune.ledger import connections
from evertune.ledger import engine as engines


@pytest.fixture(scope="session", autouse=True)
def no_fsync() -> Iterator[None]:
    """Spare the disk: no test here cuts the power, and a kill -9 loses nothing that the system has taken."""
    prepare = connections.prepare_sqlite_for_upgrade

    def hasty(connection: DBAPIConnection, entry: object) -> None:
        prepare(connection, entry)
        connection.cursor().execute("PRAGMA synchronous = OFF")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(connections, "prepare_sqlite_for_upgrade", hasty)
        yield


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite ledger to copy: migrating a new one for each test would take most of the time."""
    path = tmp_path_factory.mktemp("template") / "ledger.db"
    engines.ready(f"sqlite:///{path}").dispose()
    return path


@contextlib.contextmanager
def on_postgresql() -> Iterator[str]:
    """URL of an empty schema to throw away; the test is skipped where no server answers."""
    with contextlib.ExitStack() as stack:
        try:
            url = stack.enter_context(postgresql())
        except OperationalError as fault:
            pytest.skip(f"no PostgreSQL at {make_url(POSTGRES).render_as_string()}: {fault.orig}")
        yield url


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with on_postgresql() as url:
        yield url


@pytest.fixture
def url(empty: str, template: Path) -> str:
    """URL of a ledger in which nothing has happened yet."""
    if empty.startswith("sqlite"):
        shutil.copy(template, empty.removeprefix("sqlite:///"))
    else:
        engines.upgrade(empty)
    return empty


@pytest.fixture
def ledger(url: str) -> Iterator[Engine]:
    """A ledger in which nothing has happened yet."""
    engine = engines.ready(url)
    yield engine
    engine.dispose()
