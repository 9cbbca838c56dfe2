from __future__ import annotations

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.keys import app
from evertune.ledger import engine, keys
from evertune.records import EvertuneError
from evertune.settings import Settings

Call = Callable[..., Any]


@pytest.fixture
def call(environment: Settings) -> Call:
    """Run ``evertune keys …`` and return what it printed, as JSON where it is."""

    def call(*arguments: str) -> Any:
        done = CliRunner().invoke(app, arguments)
        if done.exception is not None:
            raise done.exception
        return json.loads(done.stdout) if "--json" in arguments else done.stdout

    return call


def test_a_key_is_made_shown_once_listed_and_revoked(call: Call, environment: Settings) -> None:
    made = call("create", "[the] shop", "--project", "spam", "--project", "ham", "--rate", "50", "--json")
    found = keys.PATTERN.fullmatch(made["key"])
    assert found is not None
    assert (made["projects"], made["scopes"], made["rate_per_s"]) == (["ham", "spam"], ["predict", "feedback"], 50)
    in_90_days = datetime.fromisoformat(made["expires"]) - datetime.now(UTC)
    assert timedelta(days=89, hours=23) < in_90_days <= timedelta(days=90)
    (listed,) = call("list", "--json")["keys"]
    assert listed == {name: value for name, value in made.items() if name != "key"}
    assert "hash" not in listed
    assert "[the] shop" in call("list")
    assert made["id"] in call("revoke", made["id"])
    assert call("revoke", made["id"], "--json")["state"].startswith("revoked ")
    ledger = engine.ready(environment.database_url)
    assert keys.all(ledger)[0].hash == keys.hash_of(found[2])
    ledger.dispose()


def test_for_people_stdout_is_the_key_alone(call: Call) -> None:
    shown = call("create", "ci", "--project", "*", "--scope", "admin", "--expires", "never")
    assert keys.PATTERN.fullmatch(shown.splitlines()[0])
    assert call("list", "--json")["keys"][0]["state"] == "never expires"


def test_a_project_without_a_file_is_told(environment: Settings) -> None:
    write_project(environment, small_project())
    asked = ["create", "shop", "--project", "small-reviews", "--project", "smal-reviews", "--project", "*"]
    done = CliRunner().invoke(app, asked)
    assert done.exit_code == 0
    assert "'smal-reviews'; the key is made" in done.stderr
    assert "'small-reviews'" not in done.stderr


@pytest.mark.parametrize("expires", ["", "90", "0d", "-1d", "90y", "soon", "1d1h"])
def test_a_time_that_is_none_is_refused(call: Call, expires: str) -> None:
    with pytest.raises(EvertuneError, match="12h, 90d, 4w or never"):
        call("create", "shop", "--project", "spam", "--expires", expires)
