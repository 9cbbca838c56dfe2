from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Engine, update

from evertune.ledger import servers
from evertune.ledger.engine import clock, writing
from evertune.ledger.tables import ServerRow


def test_what_a_server_says_takes_the_place_of_what_it_said_before(ledger: Engine) -> None:
    servers.report(ledger, "one", "spam", None, None, 1, "its signature is not ours")
    (before,) = servers.all(ledger)
    assert (before.generation, before.refused_generation, before.reason) == (None, 1, "its signature is not ours")
    servers.report(ledger, "one", "spam", 2, {"kind": "onnx-int8", "agreement": 0.995})
    (now,) = servers.all(ledger)
    assert (now.generation, now.engine, now.refused_generation, now.reason) == (
        2, {"kind": "onnx-int8", "agreement": 0.995}, None, None,
    )  # fmt: skip
    assert now.reported >= before.reported


def test_each_server_and_project_has_its_row(ledger: Engine) -> None:
    for server in ("two", "one"):
        for project in ("spam", "ham"):
            servers.report(ledger, server, project, 1, None)
    assert [(one.project, one.server) for one in servers.all(ledger)] == [
        ("ham", "one"), ("ham", "two"), ("spam", "one"), ("spam", "two"),
    ]  # fmt: skip
    assert [one.server for one in servers.all(ledger, "ham")] == ["one", "two"]


def test_a_reason_with_odd_characters_is_kept(ledger: Engine) -> None:
    servers.report(ledger, "one", "spam", 1, None, 2, "odd \x00 \ud800")
    assert servers.all(ledger)[0].reason == "odd � ?"


def test_a_server_that_has_said_nothing_for_a_week_is_gone(ledger: Engine) -> None:
    for server, days in (("dead", 8), ("quiet", 6)):
        servers.report(ledger, server, "spam", 1, None)
        with writing(ledger) as session:
            then = clock(session) - timedelta(days=days)
            session.execute(update(ServerRow).where(ServerRow.server == server).values(reported=then))
    servers.report(ledger, "one", "ham", 1, None)
    assert [one.server for one in servers.all(ledger)] == ["one", "quiet"]
