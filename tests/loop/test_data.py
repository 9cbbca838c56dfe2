"""The data of a model version, found again by what the ledger keeps of its run."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from evertune import files
from evertune.data import versions
from evertune.ledger import steps
from evertune.loop import data
from evertune.records import Dataset, Pins, RowCounts, Step
from evertune.releases import mlflow
from evertune.settings import Settings

PROJECT = {
    "schema_version": 1, "slug": "spam", "owner": "me",
    "data": {"sources": [{"uri": "a.csv"}], "columns": {"text": "a", "label": "b"}},
}  # fmt: skip
ROWS = RowCounts.model_validate(dict.fromkeys(set(RowCounts.model_fields) - {"traffic"}, 1))


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> dict[Step, Any]:
    """What the ledger has of the one run that there is."""
    prepared = Dataset(project="spam", version="v", path="p", rows=ROWS, labels=("a", "b"), lock="lock")
    kept: dict[Step, Any] = {
        Step.PREPARE: prepared.model_dump(),
        Step.CLAIM: {"project": PROJECT, "pins": Pins(sources={}, base="", recipes={}).model_dump()},
    }
    monkeypatch.setattr(mlflow, "describe", lambda *_: SimpleNamespace(run_key="run-1"))
    monkeypatch.setattr(steps, "result", lambda _engine, _run_key, step: kept.get(step))
    return kept


def test_two_checkouts_into_one_folder_do_not_meet(
    known: dict[Step, Any], where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each would take what the other has half made for a leftover."""
    asked: list[Path] = []

    def checkout(_settings: Settings, _lock: str, _project: object, _pins: Pins, to: Path) -> Path:
        asked.append(to)
        if len(asked) == 1:
            with pytest.raises(files.BusyError):
                data.checkout("spam", where, 1, to)
            data.checkout("spam", where, 1, tmp_path / "other")
        return to

    monkeypatch.setattr(versions, "checkout", checkout)
    assert data.checkout("spam", where, 1, tmp_path / "to") == tmp_path / "to"
    assert asked == [tmp_path / "to", tmp_path / "other"]
