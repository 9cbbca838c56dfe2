"""A ledger of each kind for each test. Both must do the same, so nearly every test here takes both."""

from __future__ import annotations

import contextlib
import os
import shutil
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.engine.interfaces import DBAPIConnection
from sqlalchemy.exc import OperationalError

from evertune.ledger import connections, runs, triggers
from evertune.ledger import engine as engines
from evertune.records import Cause, Decision, Outcome, Run, Verdict

POSTGRES = os.environ.get("EVERTUNE_TEST_POSTGRES", "postgresql+psycopg2://postgres@127.0.0.1:5432/test")


@contextlib.contextmanager
def throw_away_schema() -> Iterator[str]:
    """URL of an empty schema of the test server, which is dropped afterwards."""
    server = create_engine(POSTGRES, isolation_level="AUTOCOMMIT", connect_args={"connect_timeout": 3})
    schema = f"evertune_test_{uuid.uuid4().hex[:12]}"
    try:
        with server.connect() as connection:
            connection.execute(text(f"CREATE SCHEMA {schema}"))
    except OperationalError as fault:
        pytest.skip(f"no PostgreSQL at {server.url.render_as_string()}: {fault.orig}")
    try:
        yield f"{POSTGRES}?options=-csearch_path%3D{schema}"
    finally:
        with server.connect() as connection:
            connection.execute(text(f"DROP SCHEMA {schema} CASCADE"))
        server.dispose()


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


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.services)])
def empty(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a database without tables."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path}/ledger.db"
        return
    with throw_away_schema() as url:
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


@pytest.fixture
def start(ledger: Engine) -> Callable[..., Run]:
    """Ask for a run and claim it."""

    def start(key: str = "k", project: str = "spam", owner: str = "one", lease_s: int = 60) -> Run:
        assert triggers.request(ledger, project, Cause.CLOCK, key, f"because of {key}")
        run = runs.claim(ledger, project, owner, lease_s)
        assert run is not None
        return run

    return start


@pytest.fixture
def verdict() -> Callable[..., Outcome]:
    """The outcome of a run with this decision."""

    def verdict(run: Run, decision: Decision = Decision.REJECT) -> Outcome:
        reasons = ("the gain is 0.1 points, 1 is asked for",)
        given = Verdict(decision=decision, reasons=reasons, gain=0.001, opponent="champion", alpha=0.05)
        return Outcome(run_key=run.key, project=run.project, method="full", verdict=given)

    return verdict
