from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from sqlalchemy import Engine, text

from evertune.ledger import engine as engines
from evertune.ledger import events, runs, triggers
from evertune.ledger.tables import EventRow
from evertune.records import Cause, Decision, Outcome, Run, RunStatus
from evertune.releases.promote import promote, rollback


@pytest.fixture
def past(ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]) -> Engine:
    """A ledger with two releases and a rollback: seven events and one more run."""
    for number in (1, 2):
        run = start(f"night {number}")
        promote(ledger, run, "spam", number, f"digest {number}", run.key, number - 1, "gate")
        runs.finish(ledger, run, verdict(run, Decision.PROMOTE), RunStatus.FINISHED)
    rollback(ledger, "spam", "ann")
    start("night 3")
    return ledger


def tamper(ledger: Engine, statement: str, **values: Any) -> None:
    """Change rows as somebody with the database's password would."""
    with engines.writing(ledger) as session:
        session.execute(text(statement), values)


def test_what_happened_is_told_in_order(past: Engine) -> None:
    told = events.undelivered(past)
    expected = ["started", "release", "verdict", "started", "release", "verdict", "release", "started"]
    assert [one.kind for one in told] == expected
    assert [one.id for one in told] == list(range(1, 9))
    assert told[6].payload["by"] == "ann"
    assert told[6].payload["restored"] == 1
    assert events.verify(past) == []


def test_an_empty_chain_holds(ledger: Engine) -> None:
    assert events.verify(ledger) == []
    assert events.head(ledger) == events.Head(0, events.GENESIS)
    assert events.verify(ledger, events.head(ledger)) == []


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("payload", '{"edited":true}'),
        ("payload", "no JSON"),
        ("kind", "verdict"),
        ("project", "ham"),
        ("created", "2020-01-01T00:00:00+00:00"),
        ("hash", "0" * 64),
        ("prev_hash", "0" * 64),
    ],
)
def test_every_edit_is_found(past: Engine, column: str, value: str) -> None:
    for number in (2, 8):
        before = events.verify(past)
        tamper(past, f"UPDATE events SET {column} = :value WHERE id = :id", value=value, id=number)
        assert any(f"Event {number} " in fault for fault in events.verify(past))
        assert before != events.verify(past)


def test_an_edit_with_its_hash_made_anew_breaks_the_next_link(past: Engine) -> None:
    with engines.writing(past) as session:
        row = session.get_one(EventRow, 3)
        row.payload = row.payload.replace("promote", "reject")
        row.hash = events._hash(row)
    assert events.verify(past) == ["Event 4 does not follow the event before it."]


@pytest.mark.parametrize(
    ("first", "last", "told"), [(3, 3, "Event 3 is"), (3, 5, "Events 3 to 5 are"), (1, 1, "Event 1")]
)
def test_deletions_are_found(past: Engine, first: int, last: int, told: str) -> None:
    tamper(past, "DELETE FROM events WHERE id BETWEEN :first AND :last", first=first, last=last)
    assert any(fault.startswith(told) for fault in events.verify(past))


def test_moving_the_rest_up_after_a_deletion_is_found(past: Engine) -> None:
    tamper(past, "DELETE FROM events WHERE id = 8")
    tamper(past, "DELETE FROM events WHERE id = 4")
    for number in (5, 6, 7):
        tamper(past, "UPDATE events SET id = id - 1 WHERE id = :id", id=number)
    assert events.verify(past)


def test_a_cut_end_is_found_by_a_head_kept_elsewhere(past: Engine) -> None:
    head = events.head(past)
    tamper(past, "DELETE FROM events WHERE id = 8")
    assert events.verify(past) == [], "without the head nothing shows"
    assert events.verify(past, head) == ["Events 8 to 8 are missing: the chain was cut off."]


def test_a_chain_written_anew_is_found_by_a_head_kept_elsewhere(past: Engine) -> None:
    head = events.head(past)
    with engines.writing(past) as session:
        previous = events.GENESIS
        for number in range(1, 9):
            row = session.get_one(EventRow, number)
            row.created = "2020-01-01T00:00:00+00:00"
            row.prev_hash = previous
            previous = row.hash = events._hash(row)
    assert events.verify(past) == []
    assert events.verify(past, head) == ["Event 8 is not the one whose hash was kept: the chain was written anew."]


def test_a_kept_head_holds_while_the_chain_grows(past: Engine) -> None:
    head = events.head(past)
    with engines.writing(past) as session:
        events.append(session, "ham", events.Kind.FAILED, {"run": "ham-1"})
    assert events.verify(past, head) == []
    assert events.head(past).id == head.id + 1


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("UPDATE releases SET digest = 'mine' WHERE generation = 2", "Release 2 of spam is not what its event tells"),
        ("UPDATE releases SET model_version = 9 WHERE generation = 1", "Release 1 of spam is not what"),
        ("UPDATE releases SET approved_by = 'bob' WHERE generation = 3", "Release 3 of spam is not what"),
        ("DELETE FROM releases WHERE generation = 3", "Release 3 of spam is missing"),
        (
            """INSERT INTO releases SELECT project, 4, 9, 'mine', run_key, kind, restored, approved_by, traffic_share,
            created, reason FROM releases WHERE generation = 1""",
            "Release 4 of spam has no event",
        ),
    ],
)
def test_a_release_that_the_chain_does_not_tell_of_is_found(past: Engine, statement: str, told: str) -> None:
    tamper(past, statement)
    assert [fault for fault in events.verify(past) if fault.startswith(told)]


def test_what_fails_is_not_told(ledger: Engine) -> None:
    def stumble() -> None:
        with engines.writing(ledger) as session:
            events.append(session, "spam", events.Kind.FAILED, {"run": "x"})
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        stumble()
    assert events.undelivered(ledger) == []


def test_the_outbox_empties_and_the_chain_still_holds(past: Engine) -> None:
    events.delivered(past, [1, 2, 3])
    events.delivered(past, [3])
    assert [one.id for one in events.undelivered(past, limit=2)] == [4, 5]
    assert events.verify(past, events.head(past)) == []


def test_a_long_chain_is_read_in_pieces(ledger: Engine) -> None:
    previous = events.GENESIS
    with engines.writing(ledger) as session:
        for number in range(1, 1011):
            row = EventRow(id=number, project="spam", kind="failed", payload="{}", created="now", prev_hash=previous)
            previous = row.hash = events._hash(row)
            session.add(row)
    assert events.verify(ledger) == []
    tamper(ledger, "UPDATE events SET payload = :value WHERE id = 1001", value="{ }")
    assert events.verify(ledger) == ["Event 1001 was changed after it was written."]


def test_triggers_that_are_refused_leave_no_event(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.ALERT, "late", "drift", generation=7)
    assert runs.claim(ledger, "spam", "one", 60) is None
    assert events.undelivered(ledger) == []
