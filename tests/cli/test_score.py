"""What `evertune score` tells people and programs, and that it asks for what it was told to."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests.serving.engine.made import release
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.loop import score as scoring
from evertune.loop.score import Scored
from evertune.records import UnfitError
from evertune.settings import Settings

SLUG = "small-reviews"


@pytest.fixture
def asked(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What the loop was asked for; it answers that 1,234 rows were scored."""
    write_project(environment, small_project())
    monkeypatch.setenv("COLUMNS", "200")
    found: list[tuple[Any, ...]] = []

    def score(project: Any, source: str, sink: str, settings: Settings, *, column: str | None, report: Any) -> Scored:
        found.append((project.slug, source, sink, settings.home, column))
        report(5, 10)
        if source == "torn.parquet":
            raise UnfitError("torn.parquet is no whole Parquet file.")
        return Scored(project=SLUG, release=release(SLUG, 3), rows=1234, kept=5, sink=sink, seconds=1.26)

    monkeypatch.setattr(scoring, "score", score)
    return found


def test_a_file_is_scored_and_it_is_told_by_what(asked: list[tuple[Any, ...]], environment: Settings) -> None:
    done = CliRunner().invoke(app, ["score", SLUG, "in.parquet", "[out].parquet", "--column", "body"])
    assert done.exit_code == 0, done.output
    assert "1,234 rows scored by generation 3 in 1.3 s → [out].parquet" in done.stdout
    assert asked == [(SLUG, "in.parquet", "[out].parquet", environment.home, "body")]


def test_with_json_it_is_one_object(asked: list[tuple[Any, ...]]) -> None:
    done = CliRunner().invoke(app, ["score", SLUG, "in.parquet", "out.parquet", "--json"])
    assert Scored.model_validate(json.loads(done.stdout)).rows == 1234
    assert asked[0][-1] is None, "the project's own column"


def test_a_file_that_cannot_be_scored_is_a_fault(asked: list[tuple[Any, ...]]) -> None:
    done = CliRunner().invoke(app, ["score", SLUG, "torn.parquet", "out.parquet"])
    assert isinstance(done.exception, UnfitError)
