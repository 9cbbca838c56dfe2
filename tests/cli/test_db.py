"""`evertune db verify` finds a truncation by the head that it told a person to keep."""

from __future__ import annotations

import json

import pytest
from sqlalchemy import text
from typer.testing import CliRunner, Result

from evertune.cli.main import app
from evertune.ledger import engine, runs, triggers
from evertune.records import Cause
from evertune.settings import Settings


def verify(*arguments: str) -> Result:
    """The command in this process."""
    return CliRunner().invoke(app, ["db", "verify", *arguments])


@pytest.fixture(autouse=True)
def ledger(environment: Settings) -> None:
    """A ledger in which a run has begun and failed."""
    found = engine.ready(environment.database_url)
    triggers.request(found, "spam", Cause.CLOCK, "k", "night")
    run = runs.claim(found, "spam", "one", 60)
    assert run is not None
    runs.fail(found, run, "over")


def test_the_head_that_it_prints_is_the_one_that_it_takes(environment: Settings) -> None:
    head = json.loads(verify("--json").stdout)["head"]
    assert head in verify().stdout.replace("\n", "")
    assert verify("--head", head).exit_code == 0
    with engine.writing(engine.ready(environment.database_url)) as session:
        session.execute(text("DELETE FROM events WHERE id = 2"))
    assert verify().exit_code == 0, "without the head nothing shows it"
    told = verify("--head", head, "--json")
    assert told.exit_code == 1
    assert "cut off" in json.loads(told.stdout)["faults"][0]
    anew = f"1:{'0' * 64}"
    assert "written anew" in json.loads(verify("--head", anew, "--json").stdout)["faults"][0]


@pytest.mark.parametrize("head", ["", "2", "2:abc", "x:" + "0" * 64, "(2, 'abc')"])
def test_what_is_no_head_is_refused(head: str) -> None:
    done = verify("--head", head)
    assert done.exit_code != 0
    assert "ID:HASH" in done.stderr
