"""A PostgreSQL that takes a question and never answers holds nobody for ever."""

from __future__ import annotations

import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, make_url, text
from sqlalchemy.exc import OperationalError
from tests.ledgers import on_postgresql
from tests.served import Proxy, until

from evertune.ledger import connections, events, silence
from evertune.ledger import engine as engines
from evertune.records import UnreachableError

pytestmark = pytest.mark.services


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Proxy, Engine, str]]:
    """A proxy before PostgreSQL, a ledger through it, and its address without it."""
    monkeypatch.setattr(silence, "LOOK_S", 0.1)
    with on_postgresql() as url:
        between = Proxy(make_url(url).port or 5432)
        engine = engines.connect(make_url(url).set(port=between.port).render_as_string(hide_password=False))
        try:
            yield between, engine, url
        finally:
            engine.dispose()
            between.close()


@contextlib.contextmanager
def swallowing(between: Proxy) -> Iterator[None]:
    """Nothing is handed on, and who asks has patience for a moment; else one that is well has all its time."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(silence, "ANSWER_S", 0.5)
        patch.setattr(connections, "REACH_S", 2)
        between.swallow()
        yield


ASKS: dict[str, Callable[[Any], object]] = {
    "execute": lambda driver: driver.cursor().execute("SELECT 1"),
    "executemany": lambda driver: driver.cursor().executemany("SELECT %s", [(1,), (2,)]),
    "commit": lambda driver: driver.commit(),
    "rollback": lambda driver: driver.rollback(),
}


@pytest.mark.parametrize("ask", ASKS)
def test_whatever_is_asked_has_an_end(proxy: tuple[Proxy, Engine, str], ask: str) -> None:
    between, engine, _ = proxy
    driver: Any = engine.raw_connection()
    driver.cursor().execute("SELECT 1")
    with swallowing(between), pytest.raises(Exception, match=r"took the question and said nothing for \d+ s"):
        ASKS[ask](driver)
    driver.invalidate()


@pytest.mark.parametrize("fetch", ["fetchone", "fetchmany", "fetchall", "close"])
def test_so_has_what_is_fetched_piece_by_piece(proxy: tuple[Proxy, Engine, str], fetch: str) -> None:
    between, engine, _ = proxy
    driver: Any = engine.raw_connection()
    cursor = driver.cursor("pieces")
    cursor.execute("SELECT generate_series(1, 9)")
    with swallowing(between), pytest.raises(Exception, match="said nothing"):
        getattr(cursor, fetch)()
    driver.invalidate()


def test_it_is_told_as_a_ledger_that_is_away_and_is_found_when_it_is_back(proxy: tuple[Proxy, Engine, str]) -> None:
    between, engine, url = proxy
    engines.upgrade(url)
    with engines.reading(engine) as session:
        assert engines.clock(session)
    with swallowing(between):
        for _ in range(2):  # the first finds a connection that was good, the second none
            with pytest.raises(UnreachableError, match="did not answer"), engines.reading(engine) as session:
                engines.clock(session)
    between.mend()
    with engines.writing(engine) as session:
        events.append(session, "p", events.Kind.KEY_REVOKED, {"key": "k"})


def test_who_is_slow_and_answers_is_waited_for(proxy: tuple[Proxy, Engine, str]) -> None:
    _, engine, _ = proxy
    with engine.connect() as connection:
        assert connection.execute(text("SELECT 1 FROM pg_sleep(1)")).scalar() == 1


def test_who_ends_waits_for_no_answer(proxy: tuple[Proxy, Engine, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "ANSWER_S", 600)
    between, engine, _ = proxy
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))
        between.swallow()
        ending = threading.Timer(0.5, silence.hang_up)
        ending.start()
        with pytest.raises(OperationalError, match="said nothing"):
            connection.execute(text("SELECT 1"))
        ending.join()


def test_what_an_upgrade_asks_may_take_its_time(
    proxy: tuple[Proxy, Engine, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(silence, "ANSWER_S", 0.5)
    _, engine, _ = proxy
    patient = engines._engine(engine.url, upgrading=True)
    with patient.connect() as connection:
        assert connection.execute(text("SELECT 1 FROM pg_sleep(1.5)")).scalar() == 1
    patient.dispose()


def _impatient(engine: Engine) -> None:
    with engine.connect() as connection:
        connection.execute(text("SELECT 1"))  # from here on it watches
    silence.ANSWER_S = 0.5
    until(lambda: not silence._WATCH._lines)


def test_a_fork_does_not_hang_up_on_those_whom_its_parent_waits_for(proxy: tuple[Proxy, Engine, str]) -> None:
    _, engine, _ = proxy
    answers: list[object] = []

    def wait() -> None:
        with engine.connect() as connection:
            answers.append(connection.execute(text("SELECT 1 FROM pg_sleep(3)")).scalar())

    waiting = threading.Thread(target=wait)
    waiting.start()
    until(lambda: silence._WATCH._lines)
    child = multiprocessing.get_context("fork").Process(target=_impatient, args=(engine,))
    child.start()
    child.join(120)
    waiting.join(120)
    assert (child.exitcode, answers) == (0, [1])
