from __future__ import annotations

import json
from pathlib import Path

import pytest
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.ledger import engine as engines
from evertune.ledger import events
from evertune.settings import load

HOOK = {"url": "http://127.0.0.1:9/hook", "secret": "${secret:HOOK}"}


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTUNE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("EVERTUNE_PROJECTS", str(tmp_path))
    monkeypatch.setenv("EVERTUNE_SECRET_HOOK", "secret")
    where = load()
    write_project(where, small_project("hooked", notifications={"webhooks": [HOOK]}))
    write_project(where, small_project("quiet"))
    with engines.writing(engines.ready(where.database_url)) as session:
        events.append(session, "hooked", events.Kind.FAILED, {"run": "r"})


def test_it_shows_how_far_each_webhook_is() -> None:
    done = CliRunner().invoke(app, ["notify", "--json"])
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["quiet"] == []
    (hook,) = told["hooked"]
    assert (hook["sent"], hook["waiting"], hook["missed"]) == (0, 1, 0)
    assert hook["fault"].startswith("ConnectError")
    again = json.loads(CliRunner().invoke(app, ["notify", "hooked", "--now", "--json"]).stdout)
    assert list(again) == ["hooked"]


def test_people_get_a_table() -> None:
    done = CliRunner().invoke(app, ["notify", "hooked"], env={"COLUMNS": "200"})
    assert done.exit_code == 0
    assert "127.0.0.1:9" in done.stdout


def test_an_unfit_file_is_told_and_holds_up_no_other(tmp_path: Path) -> None:
    (tmp_path / "torn.yaml").write_text("slug: [")
    done = CliRunner().invoke(app, ["notify", "--json"])
    assert sorted(json.loads(done.stdout)) == ["hooked", "quiet"]
    assert "torn.yaml" in done.stderr
