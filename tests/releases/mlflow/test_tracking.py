from __future__ import annotations

import math
from pathlib import Path

import httpx
import pytest

from evertune.project import Project
from evertune.releases import mlflow
from evertune.releases.mlflow.store import connect
from evertune.settings import Settings

pytestmark = pytest.mark.integration


def native_client(settings: Settings):  # type: ignore[no-untyped-def]  # mlflow is untyped here
    from mlflow import MlflowClient

    return MlflowClient(settings.mlflow_uri)


def test_a_run_is_found_by_its_key_before_it_is_made(either: Settings, project: Project) -> None:
    many = {f"param-{number}": "x" * 7000 for number in range(150)}
    first = mlflow.start_run(either, project, "it's-a-key", many)
    mlflow.end_run(either, first, "FAILED")
    assert mlflow.start_run(either, project, "it's-a-key", {**many, "param-0": "changed", "new": 1}) == first
    assert mlflow.start_run(either, project, "another", {}) != first
    run = connect(either).run(first)
    assert run.status == "RUNNING"
    assert (len(run.params), run.params["new"], len(run.params["param-0"])) == (151, "1", 6000)


def test_a_deleted_experiment_is_restored(either: Settings, project: Project) -> None:
    run = connect(either).run(mlflow.start_run(either, project, "key", {}))
    native_client(either).delete_experiment(run.experiment)
    again = connect(either).run(mlflow.start_run(either, project, "other", {}))
    assert again.experiment == run.experiment
    assert run.artifacts.startswith(f"{either.mlflow_artifacts}/{project.slug}/")


def test_metrics_are_there_with_their_steps(either: Settings, project: Project) -> None:
    run_id = mlflow.start_run(either, project, "key", {})
    for step, value in ((1, 0.5), (2, math.nan), (3, math.inf)):
        mlflow.log_metrics(either, run_id, {"loss": value, "test.f1": 0.25}, step)
    history = native_client(either).get_metric_history(run_id, "loss")
    assert [point.step for point in history] == [1, 2, 3]
    assert history[0].value == 0.5
    assert math.isnan(history[1].value)
    assert history[2].value > 1e300


def test_a_folder_is_among_the_artefacts_and_linked(either: Settings, project: Project, tmp_path: Path) -> None:
    folder = tmp_path / "docs"
    (folder / "deep").mkdir(parents=True)
    (folder / "deep" / "index.html").write_text("<p>hello")
    run_id = mlflow.start_run(either, project, "key", {})
    for _ in range(2):
        mlflow.log_folder(either, run_id, folder, "data docs")
    mlflow.log_folder(either, run_id, folder / "deep" / "index.html", "")
    found = {item.path for item in native_client(either).list_artifacts(run_id)}
    assert found == {"data docs", "index.html"}
    link = mlflow.artifact_link(either, run_id, "data docs/deep/index.html")
    if either.mlflow_ui:
        assert link.endswith(f"/runs/{run_id}/artifacts/data%20docs/deep/index.html")
        shown = httpx.get(
            f"{either.mlflow_ui}/get-artifact",
            params={"run_uuid": run_id, "path": "data docs/deep/index.html"},
            auth=("admin", "a-password-of-the-tests"),
        )
        assert shown.text == "<p>hello"
    else:
        assert Path(link).read_text() == "<p>hello"
