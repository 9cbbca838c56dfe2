from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Engine, MetaData, create_engine, inspect, text
from sqlalchemy import Table as SqlTable
from sqlalchemy.exc import IntegrityError
from tests.ledgers import on_postgresql

from evertune.ledger import connections, events, releases, runs, traffic_tables, triggers
from evertune.ledger import engine as engines
from evertune.ledger.columns import Table
from evertune.ledger.tables import ReleaseRow
from evertune.records import Cause, EvertuneError, Run, UnreachableError

FORK = multiprocessing.get_context("fork")
assert traffic_tables  # imported for its tables
TABLES = {*Table.metadata.tables, engines.VERSION_TABLE}


def test_an_empty_database_gets_its_tables(empty: str) -> None:
    engine = engines.ready(empty)
    assert set(inspect(engine).get_table_names()) == TABLES
    engine.dispose()


def test_migrations_and_tables_agree(ledger: Engine) -> None:
    with ledger.connect() as connection:
        options = {"compare_type": True, "version_table": engines.VERSION_TABLE}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)
    assert found == []


def test_the_comparison_would_find_a_forgotten_migration(ledger: Engine) -> None:
    with engines.writing(ledger) as session:
        session.execute(text("DROP INDEX uq_runs_active"))
    with ledger.connect() as connection:
        options = {"version_table": engines.VERSION_TABLE}
        found = compare_metadata(MigrationContext.configure(connection, opts=options), Table.metadata)
    assert [change[0] for change in found] == ["add_index"]


def test_the_names_of_the_files_tell_what_alembic_would() -> None:
    config = Config()
    config.set_main_option("script_location", str(engines.MIGRATIONS))
    scripts = ScriptDirectory.from_config(config)
    assert engines.revisions() == [script.revision for script in reversed(list(scripts.walk_revisions()))]


def test_a_second_upgrade_changes_nothing(ledger: Engine, url: str, start: Callable[..., Run]) -> None:
    run = start()
    assert engines.upgrade(url) == engines.revisions()[-1]
    assert runs.get(ledger, run.key) == run


NEWEST = engines.revisions()[-1]
NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "v9998"
down_revision = "{newest}"


def upgrade():
    on_sqlite = op.get_bind().dialect.name == "sqlite"
    with op.batch_alter_table("runs", recreate="always" if on_sqlite else "never") as table:
        table.add_column(sa.Column("colour", sa.Text(), nullable=True))
    {then}
"""


def _next(where: Path, then: str) -> Path:
    """A folder of migrations with one more, which copies the table that all others refer to."""
    folder = where / "migrations % of tomorrow"
    shutil.copytree(engines.MIGRATIONS, folder)
    (folder / "versions" / "v9998_colour.py").write_text(NEXT.format(then=then, newest=NEWEST))
    return folder


def test_an_upgrade_keeps_what_is_there(
    ledger: Engine, url: str, start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    ledger.dispose()
    monkeypatch.setattr(engines, "MIGRATIONS", _next(tmp_path, "pass"))
    with pytest.raises(EvertuneError, match=rf"at revision {NEWEST}, this evertune needs v9998.*evertune db upgrade"):
        engines.ready(url)
    assert engines.upgrade(url) == "v9998"
    engine = engines.ready(url)
    assert "colour" in {column["name"] for column in inspect(engine).get_columns("runs")}
    assert runs.get(engine, run.key) == run
    assert triggers.pending(engine, "spam") == []
    engine.dispose()


def _insert_as_the_first_version_did(engine: Engine) -> None:
    """A run and its release, by the columns that the tables of this database have."""
    now, tables = datetime(2026, 1, 1, tzinfo=UTC), MetaData()
    ended = {"status": "finished", "token": 1, "champion": 0, "reasons": "[]", "lease_s": 60}
    run = {"key": "night", "project": "spam", "owner": "one", "created": now, "lease_until": now, **ended}
    how = {"kind": "promote", "approved_by": "gate", "traffic_share": 1.0}
    release = {"project": "spam", "generation": 1, "model_version": 1, "digest": "d", "run_key": "night", **how}
    with engine.begin() as connection:
        for name, row in (("runs", run), ("releases", {**release, "created": now})):
            connection.execute(SqlTable(name, tables, autoload_with=connection).insert().values(row))
    with engines.writing(engine) as session:
        events.append(session, "spam", events.Kind.RELEASE, events.release_payload(ReleaseRow(**release)))


def test_the_ledger_of_the_first_version_is_brought_up(empty: str, tmp_path: Path) -> None:
    folder = tmp_path / "migrations of the first version"
    shutil.copytree(engines.MIGRATIONS, folder, ignore=shutil.ignore_patterns("v000[2-9]*", "__pycache__"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engines, "MIGRATIONS", folder)
        assert engines.upgrade(empty) == "v0001"
        engine = engines.ready(empty)
        assert triggers.request(engine, "spam", Cause.CLOCK, "k", "night")
        _insert_as_the_first_version_did(engine)
        engine.dispose()
    with pytest.raises(EvertuneError, match="evertune db upgrade"):
        engines.ready(empty)
    assert engines.upgrade(empty) == NEWEST
    engine = engines.ready(empty)
    assert set(inspect(engine).get_table_names()) == TABLES
    assert [trigger.key for trigger in triggers.pending(engine, "spam")] == ["k"]
    release = releases.current(engine, "spam")
    assert release is not None
    assert (release.generation, release.run_key, release.reason) == (1, "night", "")
    run = runs.claim(engine, "spam", "one", 60)
    assert run is not None
    assert run.champion == 1
    assert events.verify(engine) == []
    assert events.head(engine).id == 2
    engine.dispose()


def test_an_upgrade_that_fails_changes_nothing(
    ledger: Engine, url: str, start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    ledger.dispose()
    monkeypatch.setattr(engines, "MIGRATIONS", _next(tmp_path, "raise ZeroDivisionError"))
    with pytest.raises(ZeroDivisionError):
        engines.upgrade(url)
    monkeypatch.undo()
    engine = engines.ready(url)
    assert "colour" not in {column["name"] for column in inspect(engine).get_columns("runs")}
    assert runs.get(engine, run.key) == run
    engine.dispose()


def test_an_upgrade_that_would_strand_rows_changes_nothing(
    ledger: Engine, url: str, start: Callable[..., Run], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start()
    ledger.dispose()
    monkeypatch.setattr(engines, "MIGRATIONS", _next(tmp_path, 'op.execute("DELETE FROM runs")'))
    with pytest.raises((EvertuneError, IntegrityError)):  # PostgreSQL refuses the statement itself
        engines.upgrade(url)
    monkeypatch.undo()
    engine = engines.ready(url)
    assert runs.get(engine, run.key) == run
    engine.dispose()


@pytest.mark.parametrize("act", [engines.ready, engines.upgrade])
def test_a_newer_ledger_is_left_alone(url: str, act: Callable[[str], object]) -> None:
    engine = engines.connect(url)
    with engines.writing(engine) as session:
        session.execute(text(f"UPDATE {engines.VERSION_TABLE} SET version_num = 'v9999'"))
    engine.dispose()
    with pytest.raises(EvertuneError, match="newer than this evertune"):
        act(url)


def test_another_programs_database_is_left_alone(empty: str) -> None:
    engine = engines.connect(empty)
    with engines.writing(engine) as session:
        session.execute(text("CREATE TABLE runs (run_uuid TEXT)"))
    with pytest.raises(EvertuneError, match="another program's tables"):
        engines.ready(empty)
    assert inspect(engine).get_table_names() == ["runs"]
    engine.dispose()


def test_another_programs_alembic_does_not_mislead(empty: str) -> None:
    engine = engines.connect(empty)
    with engines.writing(engine) as session:
        session.execute(text("CREATE TABLE alembic_version (version_num TEXT)"))
        session.execute(text("INSERT INTO alembic_version VALUES ('of-airflow')"))
    engine.dispose()
    engines.ready(empty).dispose()


def _get_ready(url: str, barrier: threading.Barrier) -> None:
    barrier.wait()
    engine = engines.ready(url)
    triggers.request(engine, "spam", Cause.CLOCK, str(os.getpid()), "now")
    engine.dispose()


def test_several_processes_may_be_the_first(empty: str) -> None:
    import alembic.command  # before the fork, so that all arrive together

    assert alembic.command
    barrier = FORK.Barrier(6)
    crowd = [FORK.Process(target=_get_ready, args=(empty, barrier)) for _ in range(6)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(280)
    assert [one.exitcode for one in crowd] == [0] * 6
    engine = engines.ready(empty)
    assert len(triggers.pending(engine, "spam")) == 6
    engine.dispose()


def test_a_fork_gets_connections_of_its_own(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.CLOCK, "parent", "now")
    with ledger.connect() as connection:
        mine = connection.connection.driver_connection

    def child() -> None:
        with ledger.connect() as connection:
            assert connection.connection.driver_connection is not mine
        triggers.request(ledger, "spam", Cause.CLOCK, "child", "now")

    process = FORK.Process(target=child)
    process.start()
    process.join(280)
    assert process.exitcode == 0
    triggers.request(ledger, "spam", Cause.CLOCK, "parent again", "now")
    assert [one.key for one in triggers.pending(ledger, "spam")] == ["parent", "child", "parent again"]


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://postgres:geheim@127.0.0.1:1/ledger",
        "postgresql://postgres@127.0.0.1:1/ledger?password=geheim",
        "postgresql://postgres:geheim@127.0.0.1:not-a-port/ledger",
        "postgresql://postgres:geheim@extra@:x/ledger",
        "postgresql+asyncpg://postgres:geheim@127.0.0.1/ledger",
        "mysql://root:geheim@127.0.0.1/ledger",
        "geheim",
        "",
    ],
)
def test_no_fault_tells_the_password(url: str) -> None:
    with pytest.raises(EvertuneError) as caught:
        engines.ready(url)
    assert "geheim" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_a_database_that_is_not_there_is_unreachable() -> None:
    with pytest.raises(UnreachableError, match="did not answer"):
        engines.ready("postgresql://postgres@127.0.0.1:1/ledger")


@pytest.mark.services
def test_a_database_whose_machine_vanishes_is_not_waited_for_long() -> None:
    """Neither behind a question that nobody acknowledges, nor for an answer that never comes."""
    with on_postgresql() as url:
        engine = engines.connect(url)
        with engine.connect() as connection:
            driver: Any = connection.connection.driver_connection
            with socket.socket(fileno=os.dup(driver.fileno())) as line:
                unacknowledged_ms = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
                names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
                idle, every, times = (line.getsockopt(socket.IPPROTO_TCP, name) for name in names)
        engine.dispose()
    assert 0 < unacknowledged_ms <= 30_000
    assert idle + every * times <= 30


def test_a_ledger_in_memory_is_refused() -> None:
    for url in ("sqlite://", "sqlite:///:memory:"):
        with pytest.raises(EvertuneError, match="needs a file"):
            engines.connect(url)


def test_a_file_that_is_no_database_is_told(tmp_path: Path) -> None:
    (tmp_path / "ledger.db").write_bytes(b"not a database at all\n" * 100)
    with pytest.raises(EvertuneError, match="not a whole ledger"):
        engines.ready(f"sqlite:///{tmp_path}/ledger.db")
    assert (tmp_path / "ledger.db").read_bytes() == b"not a database at all\n" * 100


def test_a_folder_that_cannot_be_made_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(UnreachableError, match=r"folder cannot be made.* Let EVERTUNE_HOME name"):
        engines.ready(f"sqlite:///{tmp_path}/file/ledger.db")


def _spoil_and_stumble(ledger: Engine) -> None:
    with engines.writing(ledger) as session:
        session.execute(text("DELETE FROM " + engines.VERSION_TABLE))
        raise ZeroDivisionError


def test_a_block_that_fails_leaves_nothing(ledger: Engine) -> None:
    with pytest.raises(ZeroDivisionError):
        _spoil_and_stumble(ledger)
    with ledger.connect() as connection:
        assert engines.revision(connection) == engines.revisions()[-1]


def test_a_writer_that_waits_in_vain_is_told(url: str, ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "BUSY_S", 1)
    hasty = engines.connect(url)
    with engines.writing(ledger) as session:
        session.execute(text("SELECT 1"))
        with pytest.raises(UnreachableError, match="did not answer") as caught:
            triggers.request(hasty, "spam", Cause.CLOCK, "key", "now")
    assert "lock" in str(caught.value)
    hasty.dispose()


def test_readers_do_not_wait_for_the_writer(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start()
    with engines.writing(ledger) as session:
        session.execute(text("UPDATE runs SET message = 'half done'"))
        began = time.monotonic()
        seen = runs.get(ledger, run.key)
        assert seen is not None
        assert seen.message is None
        assert time.monotonic() - began < 25


def test_a_reader_sees_one_state(ledger: Engine) -> None:
    with engines.reading(ledger) as session:
        before = session.scalar(text("SELECT count(*) FROM triggers"))
        triggers.request(ledger, "spam", Cause.CLOCK, "meanwhile", "now")
        assert session.scalar(text("SELECT count(*) FROM triggers")) == before == 0


def test_foreign_keys_are_kept(ledger: Engine) -> None:
    with pytest.raises(IntegrityError), engines.writing(ledger) as session:
        session.execute(
            text(
                "INSERT INTO steps (run_key, step, result, seconds, token, created) VALUES ('no', 'x', '{}', 1, 1, :t)"
            ),
            {"t": datetime(2026, 1, 1, tzinfo=UTC).isoformat()},
        )


def test_the_clock_is_the_databases(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "time", lambda: 0.0)
    with engines.reading(ledger) as session:
        now = engines.clock(session)
    assert now.tzinfo is UTC
    assert abs((now - datetime.now(UTC)).total_seconds()) < 60


def test_first_use_costs_no_heavy_import() -> None:
    code = (
        "import sys, evertune.ledger.steps, evertune.releases.promote\n"
        "heavy = {'alembic', 'psycopg2', 'torch', 'mlflow', 'pandas', 'numpy'} & set(sys.modules)\n"
        "sys.exit(str(heavy) if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)


def _die_in_the_middle(url: str, ready_to_die: threading.Event) -> None:
    engine = engines.connect(url)
    with engines.writing(engine) as session:
        session.execute(text("UPDATE runs SET owner = 'nobody', token = 99, status = 'failed'"))
        session.execute(text("DELETE FROM events"))
        ready_to_die.set()
        time.sleep(60)


@pytest.mark.faults
def test_kill_9_in_the_middle_of_a_transaction_leaves_nothing(
    url: str, ledger: Engine, start: Callable[..., Run]
) -> None:
    run = start()
    for _ in range(5):
        ready_to_die = FORK.Event()
        victim = FORK.Process(target=_die_in_the_middle, args=(url, ready_to_die))
        victim.start()
        assert ready_to_die.wait(280)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()
        began = time.monotonic()
        again = runs.claim(ledger, "spam", "one", 60)
        assert again is not None
        assert (again.key, again.owner, again.token) == (run.key, "one", 1)
        assert time.monotonic() - began < 25


@pytest.mark.faults
def test_a_full_disk_loses_nothing(tmp_path: Path, template: Path) -> None:
    """SQLite's own limit on the file stands in for the disk: the same error, at the same place."""
    shutil.copy(template, tmp_path / "ledger.db")
    engine = engines.ready(f"sqlite:///{tmp_path}/ledger.db")
    assert triggers.request(engine, "spam", Cause.CLOCK, "first", "now")
    with engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(UnreachableError, match="full"):
        triggers.request(engine, "spam", Cause.CLOCK, "second", "x" * 100_000)
    assert [one.key for one in triggers.pending(engine, "spam")] == ["first"]
    engine.dispose()


def test_create_engine_is_not_shared_with_others(ledger: Engine) -> None:
    """Hooks hang on this engine alone: another library's engine in the process must not change."""
    other = create_engine("sqlite://")
    with other.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA foreign_keys").scalar() == 0
    other.dispose()
