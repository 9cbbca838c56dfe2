"""What a step does where something around it is away: the step's own result is not lost with it."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest
from structlog.testing import capture_logs
from tests.support import small_project, write_project

from evertune import files
from evertune.data import versions
from evertune.ledger import engine, releases, runs
from evertune.ledger import steps as recorded
from evertune.loop import steps
from evertune.loop.claim import claim
from evertune.loop.outcome import outcome
from evertune.loop.release import promote_by_hand, rollback
from evertune.project import Project
from evertune.project.load import load
from evertune.records import Candidate, Decision, Outcome, RunStatus, Step, UnfitError, UnreachableError, Verdict
from evertune.releases import mlflow, promote
from evertune.releases.mlflow import RegisteredVersion
from evertune.releases.promote import RolledBackError
from evertune.settings import Settings

OWNER = "the tests"


@pytest.fixture
def project(warm: Settings) -> Project:
    """A small project."""
    return load(write_project(warm, small_project()))


@pytest.fixture
def run_key(warm: Settings, project: Project) -> str:
    """A claimed run."""
    run = claim(project, warm, owner=OWNER)
    assert run is not None
    return run.key


def away(*_: object) -> None:
    """MLflow."""
    raise UnreachableError("MLflow does not answer.")


def record(where: Settings, run_key: str, step: Step, result: dict[str, Any]) -> None:
    """As if the step had been done."""
    ledger = engine.ready(where.database_url)
    recorded.record(ledger, runs.held(ledger, run_key, OWNER), step, result, 1.0)


@pytest.fixture
def judged(warm: Settings, run_key: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A run whose model is to be promoted, and an MLflow that is away when it is."""
    candidate = Candidate(run_key=run_key, digest="digest", mlflow_run="1", model_version=1, method="full", seconds=1.0)
    verdict = Verdict(decision=Decision.PROMOTE, reasons=("it is better",))
    record(warm, run_key, Step.JUDGE, verdict.model_dump(mode="json"))
    monkeypatch.setattr(steps, "_tuned", lambda _: (candidate, None))
    told = Outcome(run_key=run_key, project="small-reviews", method="full", verdict=verdict)
    monkeypatch.setattr(steps, "outcome", lambda *_: told)
    monkeypatch.setattr(mlflow, "reconcile", away)
    return run_key


def test_a_run_whose_model_answers_does_not_fail_because_mlflow_is_away(warm: Settings, judged: str) -> None:
    steps.promote(judged, OWNER, warm)
    ledger = engine.ready(warm.database_url)
    now, run = releases.current(ledger, "small-reviews"), runs.get(ledger, judged)
    assert now is not None
    assert run is not None
    assert (now.generation, run.status) == (1, RunStatus.FINISHED)


def test_what_a_person_released_is_told_as_done_although_mlflow_is_away(
    warm: Settings, judged: str, project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps.promote(judged, OWNER, warm)
    other = RegisteredVersion(version=2, digest="digest 2", run_key=judged, verdict=None, description="", tags={})
    monkeypatch.setattr("evertune.loop.release.look", lambda *_: other)
    assert promote_by_hand(project.slug, warm, by="ann", model_version=2).generation == 2
    assert rollback(project.slug, warm, by="ann").generation == 3


def test_a_model_that_a_person_had_rolled_back_is_rejected_in_mlflow_too(
    warm: Settings, judged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def banned(*_: object, **__: object) -> None:
        raise RolledBackError("This very model was taken out of service.")

    told: list[tuple[int, Verdict]] = []
    monkeypatch.setattr(promote, "promote", banned)
    monkeypatch.setattr(steps, "outcome", outcome)
    monkeypatch.setattr(mlflow, "set_verdict", lambda _, __, version, verdict: told.append((version, verdict)))
    ended = steps.promote(judged, OWNER, warm)
    ((version, verdict),) = told
    assert (version, verdict.decision) == (1, Decision.REJECT)
    assert verdict == ended.verdict
    assert verdict.reasons == ("it is better", "This very model was taken out of service.")


def test_what_the_validation_wants_looked_at_is_part_of_the_outcome(
    warm: Settings, run_key: str, project: Project
) -> None:
    ledger = engine.ready(warm.database_url)
    assert outcome(ledger, run_key, project).notes == ()
    record(warm, run_key, Step.VALIDATE, {"drawn": 3, "notes": ["no row meets its row_condition"]})
    assert outcome(ledger, run_key, project).notes == ("no row meets its row_condition",)


def test_such_a_reject_counts_although_mlflow_is_away(
    warm: Settings, judged: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def banned(*_: object, **__: object) -> None:
        raise RolledBackError("This very model was taken out of service.")

    monkeypatch.setattr(promote, "promote", banned)
    monkeypatch.setattr(steps, "outcome", outcome)
    monkeypatch.setattr(mlflow, "set_verdict", away)
    with capture_logs() as logs:
        steps.promote(judged, OWNER, warm)
    run = runs.get(engine.ready(warm.database_url), judged)
    assert run is not None
    assert (run.status, run.decision) == (RunStatus.FINISHED, Decision.REJECT)
    assert "the model version does not say that it was refused" in [one["event"] for one in logs]


def test_unfit_data_are_told_as_such_where_mlflow_is_away(
    warm: Settings, run_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unfit(workspace: versions.Workspace, step: Step) -> None:
        docs = workspace.folder / "failed" / workspace.slug / "valid" / "data_docs"
        files.write_text(docs / "summary.html", "what is wrong")
        raise UnfitError("Too many bad rows.")

    monkeypatch.setattr(versions, "repro", unfit)
    monkeypatch.setattr(mlflow, "start_run", away)
    with pytest.raises(UnfitError, match="Too many bad rows") as told:
        steps.validate(run_key, OWNER, warm)
    page = Path(str(told.value).rsplit("Data Docs: ", 1)[1])
    assert page.read_text() == "what is wrong"
    assert steps.data_docs(run_key, warm) == str(page)


def test_a_step_on_a_machine_without_the_runs_folder_says_where_it_is_missing(warm: Settings, run_key: str) -> None:
    shutil.rmtree(warm.runs)
    with pytest.raises(UnreachableError, match=r"project.json is not on .*EVERTUNE_HOME"):
        steps.snapshot(run_key, OWNER, warm)
    steps.fail(run_key, OWNER, warm, "no folder")
    run = runs.get(engine.ready(warm.database_url), run_key)
    assert run is not None
    assert run.status is RunStatus.FAILED


def test_a_tuning_asks_for_a_gpu(warm: Settings, run_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[str, Any] = {}

    def attach(_: Settings, __: str, ___: str, payload: dict[str, Any], ____: object) -> dict[str, Any]:
        asked.update(payload)
        return {}

    dataset = {"project": "small-reviews", "version": "v", "path": "p", "labels": ["a"], "lock": ""}
    rows = {"drawn": 1, "quarantined": 0, "deduplicated": 0, "train": 1, "validation": 0, "test": 0}
    record(warm, run_key, Step.PREPARE, {**dataset, "rows": rows})
    monkeypatch.setattr("evertune.jobs.attach", attach)
    monkeypatch.setattr(mlflow, "start_run", lambda *_: "1")
    steps.tune(run_key, OWNER, warm)
    assert asked["gpu"] is True


def test_what_the_split_could_not_give_a_class_is_told(
    warm: Settings, run_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    counts = {"drawn": 9, "quarantined": 0, "deduplicated": 0, "train": 7, "validation": 1, "test": 1}
    told = "No test rows for class 'rare': its quality is not measured."

    def prepared(workspace: versions.Workspace, step: Step) -> None:
        with files.new_folder(workspace.folder / "data" / workspace.slug / "dataset") as folder:
            files.write_json(folder / "summary.json", {**counts, "warnings": [told]})
            files.write_json(folder / "labels.json", ["common", "rare"])
        files.write_text(workspace.folder / "dvc.lock", "")

    monkeypatch.setattr(versions, "repro", prepared)
    monkeypatch.setattr(versions, "push", lambda _: None)
    with capture_logs() as logs:
        steps.prepare(run_key, OWNER, warm)
    assert [(one["log_level"], one["event"]) for one in logs] == [("warning", told)]
