from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import Engine, text

from evertune.ledger import engine as engines
from evertune.ledger import events, keys
from evertune.records import EvertuneError

SOON = datetime.now(UTC) + timedelta(days=90)


def test_a_key_is_made_listed_and_revoked(ledger: Engine) -> None:
    made, shown = keys.create(
        ledger, name="shop", projects=["spam", "ham"], scopes=["feedback", "predict"], by="ann", expires=SOON
    )
    found = keys.PATTERN.fullmatch(shown)
    assert found is not None
    assert (found[1], keys.hash_of(found[2])) == (made.id, made.hash)
    assert (made.projects, made.scopes, made.rate_per_s) == (("ham", "spam"), ("predict", "feedback"), None)
    assert keys.all(ledger) == [made]
    revoked = keys.revoke(ledger, made.id, by="bob")
    assert revoked.revoked is not None
    assert keys.revoke(ledger, made.id, by="eve") == revoked
    assert keys.all(ledger) == [revoked]


def test_the_secret_is_nowhere_in_the_ledger(ledger: Engine) -> None:
    made, shown = keys.create(ledger, name="shop of Ann", projects=["*"], scopes=["admin"], by="ann", rate_per_s=50)
    keys.revoke(ledger, made.id, by="ann")
    secret = shown.rsplit(made.id)[1][1:]
    with ledger.connect() as connection:
        everything = str([connection.execute(text(f"SELECT * FROM {table}")).all() for table in ("keys", "events")])
    assert secret not in everything
    assert made.id in everything


def test_both_acts_are_in_the_chain_without_what_people_wrote(ledger: Engine) -> None:
    one, _ = keys.create(ledger, name="Ann's phone", projects=["spam"], scopes=["predict"], by="ann", expires=SOON)
    two, _ = keys.create(ledger, name="all", projects=["*", "spam"], scopes=["admin"], by="ann")
    keys.revoke(ledger, one.id, by="bob")
    told = events.undelivered(ledger)
    assert [(event.kind, event.project, event.payload["by"]) for event in told] == [
        ("key created", "spam", "ann"), ("key created", "*", "ann"), ("key revoked", "spam", "bob"),
    ]  # fmt: skip
    assert [event.payload["key"] for event in told] == [one.id, two.id, one.id]
    assert told[0].payload["expires"] == SOON.isoformat()
    assert "phone" not in str(told), "no hash can spell it: it holds letters that hexadecimal has not"
    assert all("hash" not in event.payload and one.hash not in str(event.payload) for event in told)
    assert events.verify(ledger) == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"name": ""}, "needs a printable name"),
        ({"name": "red \x1b[31m"}, "needs a printable name"),
        ({"name": "x" * 101}, "at most 100"),
        ({"projects": []}, "at least one project"),
        ({"projects": ["../etc"]}, "no project's slug"),
        ({"scopes": []}, "one or more of predict, feedback, admin"),
        ({"scopes": ["predict", "root"]}, "given: predict, root"),
        ({"rate_per_s": 0.0}, "above 0"),
        ({"rate_per_s": float("nan")}, "above 0"),
        ({"expires": datetime(2020, 1, 1, tzinfo=UTC)}, "it is past"),
    ],
)
def test_a_key_that_cannot_be_used_is_refused(ledger: Engine, change: dict[str, object], told: str) -> None:
    wanted: dict[str, object] = {"name": "shop", "projects": ["spam"], "scopes": ["predict"], "by": "ann"}
    with pytest.raises(EvertuneError, match=re.escape(told)):
        keys.create(ledger, **{**wanted, **change})  # type: ignore[arg-type]
    assert keys.all(ledger) == []
    assert events.undelivered(ledger) == []


def test_a_key_that_is_not_there_is_told(ledger: Engine) -> None:
    with pytest.raises(EvertuneError, match="evertune keys list"):
        keys.revoke(ledger, "abcdefghijkl", by="ann")


def test_a_scope_that_a_newer_version_added_is_dropped_on_reading(ledger: Engine) -> None:
    keys.create(ledger, name="shop", projects=["spam"], scopes=["predict"], by="ann")
    with engines.writing(ledger) as session:
        session.execute(text("""UPDATE keys SET scopes = '["predict","telepathy"]'"""))
    (found,) = keys.all(ledger)
    assert found.scopes == ("predict",)


def test_no_two_keys_are_alike(ledger: Engine) -> None:
    made = [keys.create(ledger, name="same", projects=["spam"], scopes=["predict"], by="ann") for _ in range(20)]
    assert len({key.id for key, _ in made}) == len({shown for _, shown in made}) == 20
