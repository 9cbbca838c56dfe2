from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import Engine

from evertune.ledger import segments
from evertune.ledger.segments import Segment

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
