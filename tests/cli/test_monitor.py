"""What `evertune monitor` tells people."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.loop import monitor
from evertune.loop.monitor import Watched
from evertune.loop.window_findings import Tested as Found
from evertune.records import Alert, AlertStatus, Explanation, Finding, Signal
from evertune.settings import Settings

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
MOVED = Finding(signal=Signal.EMBEDDING, rows=500, effect=0.4, smallest=0.1, p=1e-12, e=1e9)
ALERT = Alert(
    project="small-reviews", key="drift-1-2", generation=1, window=2, signals=(Signal.EMBEDDING,), rows=500,
    explanation=Explanation(share=0.4, sentences=("40% of the traffic is of a new kind.",)),
    status=AlertStatus.TRIGGERED, ruling="A retrain is asked for, with 300 labels.", created=NOW,
)  # fmt: skip


def found(number: int, **changes: object) -> Found:
    made = Found(
        window=number, generation=1, rows=500, labelled=20, findings=(), evidence=0.01, raised=(), faded=(), report=""
    )
    return made.model_copy(update=changes)


def run(where: Settings, patch: pytest.MonkeyPatch, watched: Watched, *options: str) -> str:
    where.projects.mkdir(exist_ok=True)
    write_project(where, small_project())
    for name, value in where.environment().items():
        patch.setenv(name, value)
    patch.setattr(monitor, "watch", lambda *_: watched)
    patch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["monitor", "small-reviews", *options])
    assert result.exit_code == 0, result.output
    return result.output


def test_an_alert_is_told_with_what_changed_and_what_is_to_be_done(
    where: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    tested = (
        found(1),
        found(1, findings=(MOVED,), faded=(Signal.F1,)),
        found(2, findings=(MOVED,), evidence=9e5, raised=(Signal.EMBEDDING,), lacks="Much is gone."),
    )
    watched = Watched(
        project="small-reviews",
        windows=(),
        tested=tested,
        lost=3,
        unreported=2,
        alert=ALERT,
        wakes=True,
        held_back="these are quiet hours (22:00 to 06:00, UTC)",
    )
    told = run(where, monkeypatch, watched)
    assert "not tested: an older release" in told
    assert "ALERT: embedding" in told
    assert "embedding 0.40; faded: f1" in told
    assert "Much is gone." in told
    assert "3 records were passed over" in told
    assert "2 of the newest windows have no report" in told
    assert "Alert drift-1-2 (embedding) is triggered. A retrain is asked for" in told
    assert "is not begun yet: these are quiet hours (22:00 to 06:00, UTC)." in told
    assert "40% of the traffic is of a new kind." in told
    assert "evertune run small-reviews" in told


def test_nothing_due_is_told_and_json_is_one_object(where: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(project="small-reviews", windows=(), tested=(), lost=0, unreported=0, alert=None, wakes=False)
    assert "No window of traffic was due" in run(where, monkeypatch, watched)
    assert Watched.model_validate(json.loads(run(where, monkeypatch, watched, "--json"))) == watched
