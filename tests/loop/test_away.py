"""`evertune run` where something that it needs is away or full: a sentence, status 1, and the next run goes on.

One installation, in which everything goes wrong in turn; the data that a failed run has made are found by the next.
"""

from __future__ import annotations

import csv
import random
import time
from pathlib import Path

import pytest
from tests import quick
from tests.quick import SLUG, evertune
from tests.support import small_disk

from evertune.ledger import engine, releases, runs
from evertune.records import RunStatus
from evertune.settings import Settings

pytestmark = pytest.mark.faults

NOWHERE = "http://127.0.0.1:9"
LEASE_S = 1


@pytest.fixture(scope="module")
def where(tmp_path_factory: pytest.TempPathFactory, registry: Path) -> Settings:
    """A home whose project draws a megabyte, so that it does not fit a small disk."""
    root = tmp_path_factory.mktemp("away")
    settings = quick.home(root, registry).model_copy(update={"lease_s": LEASE_S})
    quick.write(settings)
    chance = random.Random(7)
    with (root / "rows.csv").open(newline="") as source, (root / "long.csv").open("w", newline="") as sink:
        head, *rows = csv.reader(source)
        noisy = ([*row, f"{chance.getrandbits(12_000):x}"] for row in rows)
        csv.writer(sink).writerows([[*head, "noise"], *noisy])
    columns = {"text": "text", "label": "label", "keep": ["noise"]}
    tuning = {**quick.TUNING, "checkpoint_s": 0.01}
    quick.write(settings, data={"sources": [{"uri": "../long.csv"}], "columns": columns}, tuning=tuning)
    return settings


def _fails(where: Settings, **changes: str) -> str:
    """The sentence with which the run ends; nothing is released, and the run is no longer in anybody's way."""
    status, told = evertune(where.model_copy(update=changes), "run", SLUG)
    assert status == 1, told
    ledger = engine.ready(where.database_url)
    assert all(run.status is not RunStatus.FINISHED for run in runs.history(ledger, SLUG))
    assert releases.history(ledger, SLUG) == []
    time.sleep(LEASE_S)
    return str(told["error"]["message"])


def test_mlflow_is_away(where: Settings) -> None:
    told = _fails(where, mlflow_uri=NOWHERE)
    assert "MLflow" in told
    assert NOWHERE in told


def test_the_remotes_disk_is_not_mounted(where: Settings, tmp_path: Path) -> None:
    told = _fails(where, remote=str(tmp_path / "unmounted" / "remote"))
    assert "Mount its disk, or set EVERTUNE_REMOTE" in told
    assert not (tmp_path / "unmounted").exists()


def test_the_remote_takes_nothing(where: Settings, tmp_path: Path) -> None:
    (remote := tmp_path / "remote").mkdir()
    (remote / "files").touch()  # where DVC wants a folder
    told = _fails(where, remote=str(remote))
    assert f"the DVC remote {remote} did not take part" in told
    assert [path.name for path in remote.iterdir() if path.name != "runs"] == ["files"]


def test_the_disk_is_full_while_a_checkpoint_is_written(where: Settings) -> None:
    with small_disk(where.jobs, "200k"):
        told = _fails(where)
        assert "disk is full" in told
        assert "its last whole checkpoint" in told
        checkpoints = [path for path in where.jobs.glob("*/checkpoints/*") if path.is_dir()]
        assert all((path / "manifest.json").exists() for path in checkpoints), "half a checkpoint stayed"


def test_afterwards_a_run_goes_through(where: Settings) -> None:
    status, told = evertune(where, "run", SLUG)
    assert (status, told["verdict"]["decision"]) == (0, "promote")
    assert told["release"]["generation"] == 1
    assert told["model_version"] == 1, "no failed run has left a version behind"
