from __future__ import annotations

import json

from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.settings import Settings


def test_a_project_without_a_release_says_how_to_have_one(environment: Settings) -> None:
    write_project(environment, small_project())
    found = CliRunner().invoke(app, ["release", "list", "small-reviews"])
    assert found.exit_code == 0
    assert "has no release yet" in found.stdout
    assert found.stdout.endswith("Run: evertune run small-reviews\n")
    found = CliRunner().invoke(app, ["release", "list", "small-reviews", "--json"])
    assert json.loads(found.stdout) == {"releases": []}
