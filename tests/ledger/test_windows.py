"""Windows in both databases: each answer once, whatever is concurrent, late, gone or killed."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import time
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text
from tests.ledger.made import NOON, drained, read

from evertune.ledger import engine as engines
from evertune.ledger import windows
from evertune.ledger.cutting import Outline, Pending
from evertune.project.monitoring_options import WindowOptions
from evertune.records import Window

FORK = multiprocessing.get_context("fork")
OPTIONS = WindowOptions(rows=10, hours=24.0, fewest_rows=3)


def places(window: Window | None) -> list[tuple[int, int, int]]:
    return [(int(part.segment, 16), part.first, part.end) for part in window.parts] if window else []


def test_windows_follow_each_other_without_a_gap(ledger: Engine) -> None:
    for number in (1, 2, 3, 4):
        drained(ledger, number)
    first, second = (windows.cut(ledger, "spam", read, OPTIONS) for _ in range(2))
    assert places(first) == [(1, 0, 6), (2, 0, 4)]
    assert places(second) == [(2, 4, 6), (3, 0, 6), (4, 0, 2)]
    assert first is not None
    assert second is not None
    assert (first.number, second.number, second.generation) == (1, 2, 1)
    assert windows.cut(ledger, "spam", read, WindowOptions(rows=10, hours=1e2)) is None
    assert [one.number for one in windows.history(ledger, "spam")] == [1, 2]
    assert windows.untested(ledger, "spam") == first


def test_labels_belong_to_one_window(ledger: Engine) -> None:
    for number in (1, 2, 3, 4):
        drained(ledger, number)
    before = datetime.now(UTC)
    first, second = (windows.cut(ledger, "spam", read, OPTIONS) for _ in range(2))
    assert first is not None
    assert second is not None
    assert first.labels_until == NOON + timedelta(minutes=2)  # when the first answer that is not in it was given
    assert second.labels_until == NOON + timedelta(minutes=4)
    drained(ledger, 5)
    last = windows.cut(ledger, "spam", read, OPTIONS)
    assert last is not None
    assert last.labels_until >= before - windows.SETTLED


def test_a_clock_set_back_does_not_give_labels_twice(ledger: Engine) -> None:
    drained(ledger, 9, 11)
    first = windows.cut(ledger, "spam", read, OPTIONS)
    drained(ledger, 1, 11)
    second = windows.cut(ledger, "spam", read, OPTIONS)
    assert first is not None
    assert second is not None
    assert second.labels_until >= first.labels_until


def test_what_is_drained_late_is_in_the_next_window(ledger: Engine) -> None:
    drained(ledger, 5, 12)
    assert places(windows.cut(ledger, "spam", read, OPTIONS)) == [(5, 0, 10)]
    drained(ledger, 3, 9)
    assert places(windows.cut(ledger, "spam", read, OPTIONS)) == [(3, 0, 9), (5, 10, 11)]


def test_each_project_has_its_own(ledger: Engine) -> None:
    drained(ledger, 1, 12, "spam")
    drained(ledger, 2, 12, "ham")
    assert places(windows.cut(ledger, "ham", read, OPTIONS)) == [(2, 0, 10)]
    assert places(windows.cut(ledger, "spam", read, OPTIONS)) == [(1, 0, 10)]


def test_what_is_gone_is_passed_over_and_counted_once(ledger: Engine) -> None:
    def gone(pending: Pending) -> Outline:
        return Outline((), (), lost=6) if int(pending.segment, 16) == 2 else read(pending)

    for number in (1, 2):
        drained(ledger, number)
    assert windows.cut(ledger, "spam", gone, OPTIONS) is None
    assert windows.cut(ledger, "spam", gone, OPTIONS) is None
    assert windows.lost(ledger, "spam") == 6
    drained(ledger, 3)
    assert places(windows.cut(ledger, "spam", read, OPTIONS)) == [(1, 0, 6), (3, 0, 4)]


def test_the_rest_of_a_segment_whose_rows_have_changed_is_passed_over(ledger: Engine) -> None:
    """Two files make up a segment that was open over the hour; when one goes, numbers mean other rows."""
    drained(ledger, 1, 16)
    assert places(windows.cut(ledger, "spam", read, OPTIONS)) == [(1, 0, 10)]
    drained(ledger, 2, 12)

    def half(pending: Pending) -> Outline:
        return Outline([1] * 8, [NOON] * 8, lost=8) if int(pending.segment, 16) == 1 else read(pending)

    assert places(windows.cut(ledger, "spam", half, OPTIONS)) == [(2, 0, 10)]
    assert windows.lost(ledger, "spam") == 6


def test_segments_without_answers_do_not_pile_up(ledger: Engine) -> None:
    for number in range(1, 6):
        drained(ledger, number)
    looked: list[str] = []

    def nothing(pending: Pending) -> Outline:
        looked.append(pending.segment)
        return Outline((), ())

    assert windows.cut(ledger, "spam", nothing, OPTIONS) is None
    assert windows.cut(ledger, "spam", nothing, OPTIONS) is None
    assert len(looked) == 5


def test_whoever_was_slower_cuts_the_next(ledger: Engine) -> None:
    """Another one cuts between reading and writing."""
    for number in (1, 2, 3, 4):
        drained(ledger, number)
    between: list[Window | None] = []

    def slow(pending: Pending) -> Outline:
        if not between:
            between.append(None)
            between[0] = windows.cut(ledger, "spam", read, OPTIONS)
        return read(pending)

    mine = windows.cut(ledger, "spam", slow, OPTIONS)
    assert places(between[0]) == [(1, 0, 6), (2, 0, 4)]
    assert places(mine) == [(2, 4, 6), (3, 0, 6), (4, 0, 2)]


def test_segments_drained_before_the_upgrade_wait_too(empty: str, tmp_path: object) -> None:
    assert engines.upgrade(empty)
    engine = engines.ready(empty)
    drained(engine, 1, 12)
    with engines.writing(engine) as session:
        session.execute(text("DELETE FROM cuts"))
        for name in ("cuts", "alerts", "findings", "windows"):
            session.execute(text(f"DROP TABLE {name}"))
        session.execute(text(f"UPDATE {engines.VERSION_TABLE} SET version_num = 'v0002'"))
        session.execute(text("DROP TABLE IF EXISTS deliveries"))
        session.execute(text("ALTER TABLE releases DROP COLUMN reason"))
    engine.dispose()
    engines.upgrade(empty)
    engine = engines.ready(empty)
    assert places(windows.cut(engine, "spam", read, OPTIONS)) == [(1, 0, 10)]
    engine.dispose()


def _cut_on(url: str) -> None:
    engine = engines.ready(url)
    while True:
        windows.cut(engine, "spam", read, OPTIONS)
        time.sleep(0.002)


def race(ledger: Engine, url: str, count: int, kills: int) -> None:
    """Three who cut, some killed, while segments come in a mixed order; every answer is in one window."""
    crowd = [FORK.Process(target=_cut_on, args=(url,)) for _ in range(3)]
    for one in crowd:
        one.start()
    numbers = list(range(1, count + 1))
    random.shuffle(numbers)
    for turn, number in enumerate(numbers):
        drained(ledger, number, 7)
        if kills and turn % max(count // kills, 1) == 0:
            victim = random.randrange(3)
            pid = crowd[victim].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
            crowd[victim].join()
            crowd[victim] = FORK.Process(target=_cut_on, args=(url,))
            crowd[victim].start()
    for one in crowd:
        one.kill()
        one.join()
    while windows.cut(ledger, "spam", read, OPTIONS):
        pass
    found = windows.history(ledger, "spam", None)
    assert [one.number for one in found] == list(range(1, len(found) + 1))
    taken = Counter((part.segment, row) for one in found for part in one.parts for row in range(part.first, part.end))
    assert max(taken.values()) == 1
    assert len(taken) == sum(one.rows for one in found) > 7 * count - 10


def test_many_cut_at_once_and_each_answer_is_in_one_window(ledger: Engine, url: str) -> None:
    race(ledger, url, 40, 0)


@pytest.mark.faults
def test_those_who_cut_are_killed(ledger: Engine, url: str) -> None:
    race(ledger, url, 120, 30)
