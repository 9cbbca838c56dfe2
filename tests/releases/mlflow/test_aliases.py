from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evertune import files
from evertune.project import Project
from evertune.records import Evaluation, EvertuneError, Release
from evertune.releases import mlflow
from evertune.releases.mlflow.store import CHAMPION, connect
from evertune.settings import Settings, load


def release(slug: str, version: int, digest: str) -> Release:
    return Release(
        project=slug, generation=4, model_version=version, digest=digest, run_key="run-1", kind="promote",
        approved_by="gate", created=datetime.now(UTC),
    )  # fmt: skip


@pytest.mark.integration
def test_the_alias_follows_the_ledger(either: Settings, project: Project, bundle: Path, evaluation: Evaluation) -> None:
    run_id = mlflow.start_run(either, project, "run-1", {})
    first = mlflow.register(either, project, "run-1", run_id, bundle, "card", evaluation, {})
    second = mlflow.register(either, project, "run-2", run_id, bundle, "card", evaluation, {})
    now = release(project.slug, first, files.digest(bundle))
    assert mlflow.alias(either, project.slug) is None
    left_behind = mlflow.reconcile(either, project.slug, now)
    assert left_behind is not None
    assert "was missing" in left_behind
    assert mlflow.reconcile(either, project.slug, now) is None
    connect(either).set_alias(project.slug, CHAMPION, second)
    moved = mlflow.reconcile(either, project.slug, now)
    assert moved is not None
    assert f"pointed to version {second}" in moved
    assert f"points to version {first} now, as generation 4 says" in moved
    assert mlflow.alias(either, project.slug) == first
    removed = mlflow.reconcile(either, project.slug, None)
    assert removed is not None
    assert "removed" in removed
    assert mlflow.alias(either, project.slug) is None
    assert mlflow.reconcile(either, project.slug, None) is None


@pytest.mark.integration
def test_an_alias_never_goes_to_a_version_that_is_not_the_released_model(
    either: Settings, project: Project, bundle: Path, evaluation: Evaluation
) -> None:
    run_id = mlflow.start_run(either, project, "run-1", {})
    version = mlflow.register(either, project, "run-1", run_id, bundle, "card", evaluation, {})
    for wrong, said in (
        (release(project.slug, 99, "x"), "is not in MLflow"),
        (release(project.slug, version, "x"), "digest"),
    ):
        with pytest.raises(EvertuneError, match=said):
            mlflow.reconcile(either, project.slug, wrong)
        assert mlflow.alias(either, project.slug) is None


def test_a_look_makes_no_database_and_does_not_import_mlflow(tmp_path: Path) -> None:
    where = load({"EVERTUNE_HOME": str(tmp_path)})
    look = (
        "import sys; from evertune import settings; from evertune.releases import mlflow; where = settings.load(); "
        "print(mlflow.alias(where, 'x'), mlflow.reconcile(where, 'x', None), 'mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], env=where.environment(), capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["None", "None", "False"]
    assert not (tmp_path / "mlflow").exists()
