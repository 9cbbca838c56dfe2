from __future__ import annotations

import html
import json
import os
import subprocess
import sys

import pytest
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.project.reference import json_schema, reference_markdown


@pytest.mark.parametrize("arguments", [[], ["--json"]])
def test_the_schema_is_one_json_object(arguments: list[str]) -> None:
    result = CliRunner().invoke(app, ["schema", *arguments])
    assert result.exit_code == 0
    assert json.loads(result.stdout) == json_schema()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_a_terminal_of_another_encoding_gets_the_same(encoding: str) -> None:
    def told(*arguments: str) -> str:
        command = [sys.executable, "-m", "evertune.cli.main", "schema", *arguments]
        env = {**os.environ, "PYTHONUTF8": "0", "PYTHONIOENCODING": encoding}
        return subprocess.run(command, env=env, capture_output=True, check=True).stdout.decode(encoding)

    assert json.loads(told()) == json_schema()
    assert html.unescape(told("--markdown")) == html.unescape(reference_markdown())


def test_the_reference_for_people() -> None:
    assert CliRunner().invoke(app, ["schema", "--markdown"]).stdout == reference_markdown()
    assert CliRunner().invoke(app, ["schema", "--markdown", "--json"]).exit_code != 0
