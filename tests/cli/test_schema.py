from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.project.reference import json_schema, reference_markdown


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_schema_is_one_json_object(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["schema", *arguments])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()


def test_the_reference_for_people() -> None:
    assert CliRunner().invoke(app, ["schema", "--markdown"]).stdout == reference_markdown()
    assert CliRunner().invoke(app, ["schema", "--markdown", "--json"]).exit_code != 0
