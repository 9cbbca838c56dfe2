from __future__ import annotations

import threading
from datetime import UTC, datetime, timedelta

from sqlalchemy import Engine, update

from evertune.ledger import deliveries, events
from evertune.ledger.engine import writing
from evertune.ledger.tables import DeliveryRow, EventRow

HOOK = deliveries.key_of("https://example.org/hook")


def happen(ledger: Engine, project: str, number: int) -> list[int]:
    with writing(ledger) as session:
        return [events.append(session, project, events.Kind.FAILED, {"run": str(one)}).id for one in range(number)]


def expire(ledger: Engine) -> None:
    with writing(ledger) as session:
        past = datetime.now(UTC) - timedelta(seconds=1)
        session.execute(update(DeliveryRow).values(held_until=past, retry_at=None))


def test_a_webhook_is_told_from_where_it_was(ledger: Engine) -> None:
    ids = happen(ledger, "spam", 3)
    happen(ledger, "ham", 1)
    held = deliveries.take(ledger, "spam", HOOK)
    assert held is not None
    assert [one.id for one in events.after(ledger, "spam", held.until)] == ids
    assert deliveries.told(ledger, held, ids[1])
    deliveries.give_back(ledger, held)

    again = deliveries.take(ledger, "spam", HOOK)
    assert again is not None
    assert [one.id for one in events.after(ledger, "spam", again.until)] == ids[2:]


def test_only_one_delivers_to_a_webhook_at_a_time(ledger: Engine) -> None:
    happen(ledger, "spam", 1)
    found: list[deliveries.Delivery | None] = []
    threads = [
        threading.Thread(target=lambda: found.append(deliveries.take(ledger, "spam", HOOK, now=True))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(one is not None for one in found) == 1
    assert deliveries.take(ledger, "spam", deliveries.key_of("https://example.org/other")) is not None


def test_who_was_killed_is_followed_and_can_note_nothing_any_more(ledger: Engine) -> None:
    (event,) = happen(ledger, "spam", 1)
    killed = deliveries.take(ledger, "spam", HOOK)
    assert killed is not None
    assert deliveries.take(ledger, "spam", HOOK) is None
    expire(ledger)
    follower = deliveries.take(ledger, "spam", HOOK)
    assert follower is not None
    assert not deliveries.told(ledger, killed, event)
    deliveries.failed(ledger, killed, "late", 60)
    deliveries.give_back(ledger, killed)
    assert deliveries.told(ledger, follower, event)
    assert deliveries.all(ledger, "spam")[0].failures == 0


def test_a_try_that_failed_is_not_repeated_before_its_time(ledger: Engine) -> None:
    held = deliveries.take(ledger, "spam", HOOK)
    assert held is not None
    deliveries.failed(ledger, held, "no answer\x00", 60)
    assert deliveries.take(ledger, "spam", HOOK) is None
    (row,) = deliveries.all(ledger, "spam")
    assert (row.failures, row.fault, row.holder) == (1, "no answer\N{REPLACEMENT CHARACTER}", None)
    held = deliveries.take(ledger, "spam", HOOK, now=True)
    assert held is not None
    deliveries.told(ledger, held, 0)
    (row,) = deliveries.all(ledger, "spam")
    assert (row.failures, row.fault, row.retry_at) == (0, None, None)


def test_a_new_webhook_hears_of_the_last_day(ledger: Engine) -> None:
    ids = happen(ledger, "spam", 3)
    with writing(ledger) as session:
        old = (datetime.now(UTC) - timedelta(days=2)).isoformat(timespec="microseconds")
        session.execute(update(EventRow).where(EventRow.id <= ids[1]).values(created=old))
    held = deliveries.take(ledger, "spam", HOOK)
    assert held is not None
    assert held.until == ids[1]


def test_an_address_is_not_stored(ledger: Engine) -> None:
    key = deliveries.key_of("https://example.org/hook?token=abc")
    assert "abc" not in key
    assert key != HOOK


def test_what_everybody_was_told_leaves_the_outbox(ledger: Engine) -> None:
    ids = happen(ledger, "spam", 3)
    happen(ledger, "ham", 1)
    events.delivered_until(ledger, "spam", ids[1])
    assert [(one.project, one.id) for one in events.undelivered(ledger)] == [("spam", ids[2]), ("ham", ids[2] + 1)]
    assert events.verify(ledger) == []
    assert {len(one.hash) for one in events.undelivered(ledger)} == {64}
