from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine
from tests.ledger.made import NOON, drained, read

from evertune.ledger import segments, windows
from evertune.ledger.cutting import Outline, Pending
from evertune.ledger.segments import SPREAD, Segment
from evertune.project.monitoring_options import WindowOptions

ONE = Segment(
    id="002a000000c0ffee",
    node="shop-c0ffee",
    opened=datetime(2026, 11, 22, 18, 0, tzinfo=UTC),
    closed=datetime(2026, 11, 22, 18, 1, 0, 250_000, tzinfo=UTC),
    records=12,
    bytes=34_000,
    damaged=7,
    hours={"spam": {"2026-11-22/18": 12}},
    folder="/srv/home/traffic/parquet",
)


def test_a_row_is_inserted_once_and_never_changed(ledger: Engine) -> None:
    assert segments.record(ledger, ONE)
    assert not segments.record(ledger, ONE.model_copy(update={"records": 11}))
    assert segments.all(ledger) == [ONE]


def test_the_order_is_that_of_time(ledger: Engine) -> None:
    earlier = ONE.model_copy(update={"id": "0029ffffffc0ffee"})
    segments.record(ledger, ONE)
    segments.record(ledger, earlier)
    assert segments.all(ledger) == [earlier, ONE]


LONG_AGO = NOON + SPREAD
"""Since then drained segments of made.py are kept, but for number 0 and those before it."""


def _ids(ledger: Engine) -> list[int]:
    return [int(one.id, 16) for one in segments.all(ledger)]


def test_what_the_retention_has_removed_is_forgotten(ledger: Engine) -> None:
    for number in range(4):
        drained(ledger, number)
    assert segments.forget(ledger, {"spam": LONG_AGO + timedelta(minutes=2), "ham": LONG_AGO}) == 2
    assert _ids(ledger) == [2, 3]
    first = windows.cut(ledger, "spam", read, WindowOptions(rows=10, hours=24.0, fewest_rows=3))
    assert first is not None
    assert [int(part.segment, 16) for part in first.parts] == [2, 3]
    assert segments.forget(ledger, {"spam": LONG_AGO + timedelta(days=1)}) == 2
    assert windows.segment_hours(ledger, "spam", first) == {}
    assert windows.history(ledger, "spam")[0].rows == 10


def test_a_segment_stays_while_something_of_it_is_kept_or_not_known(ledger: Engine) -> None:
    both = ONE.model_copy(update={"hours": {"spam": {"2026-11-22/18": 6}, "ham": {"2026-11-22/18": 6}}})
    segments.record(ledger, both)
    later = ONE.opened + timedelta(days=9)
    assert segments.forget(ledger, {}) == 0
    assert segments.forget(ledger, {"spam": later}) == 0
    assert segments.forget(ledger, {"spam": later, "ham": ONE.opened}) == 0
    assert segments.all(ledger) == [both]
    assert segments.forget(ledger, {"ham": later}) == 1


def test_what_tells_of_lost_records_stays(ledger: Engine) -> None:
    for number in (1, 2):
        drained(ledger, number)

    def gone(pending: Pending) -> Outline:
        return Outline((), (), lost=6) if int(pending.segment, 16) == 1 else read(pending)

    windows.cut(ledger, "spam", gone, WindowOptions(rows=6, hours=24.0, fewest_rows=3))
    assert segments.forget(ledger, {"spam": LONG_AGO + timedelta(days=1)}) == 1
    assert (_ids(ledger), windows.lost(ledger, "spam")) == ([1], 6)


def test_so_many_at_once_that_nobody_waits_for_long(ledger: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(segments, "PAGE", 3)
    for number in range(5):
        drained(ledger, number)
    assert [segments.forget(ledger, {"spam": LONG_AGO + timedelta(days=1)}) for _ in range(3)] == [3, 2, 0]


def test_what_is_forgotten_while_a_window_is_cut_harms_no_window(ledger: Engine) -> None:
    for number in (1, 2):
        drained(ledger, number)

    def meanwhile(pending: Pending) -> Outline:
        segments.forget(ledger, {"spam": LONG_AGO + timedelta(minutes=2)})
        return read(pending)

    first = windows.cut(ledger, "spam", meanwhile, WindowOptions(rows=12, hours=24.0, fewest_rows=3))
    assert first is not None
    assert first.rows == 12
