from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from evertune import files
from evertune.project import Project
from evertune.records import Decision, Evaluation, EvertuneError, Verdict
from evertune.releases import mlflow
from evertune.releases.mlflow import artifacts, registry
from evertune.releases.mlflow.store import RUN_KEY, connect
from evertune.settings import Settings

pytestmark = pytest.mark.integration
TAGS = {"method": "full", "data_version": "d" * 64, "code_version": "0.1.0"}


class Candidate(NamedTuple):
    settings: Settings
    project: Project
    bundle: Path
    evaluation: Evaluation

    @property
    def slug(self) -> str:
        return self.project.slug

    def register(self, **options: Any) -> int:
        run_id = mlflow.start_run(self.settings, self.project, "run-1", {})
        card = mlflow.model_card(self.project, self.evaluation, TAGS)
        return mlflow.register(
            self.settings, self.project, "run-1", run_id, self.bundle, card, self.evaluation, TAGS, **options
        )

    def fetch(self, version: int, to: Path) -> Path:
        return mlflow.fetch(self.settings, self.slug, version, files.digest(self.bundle), to)

    def stored(self, version: int) -> Path:
        """The bundle in MLflow's artefact store."""
        store = connect(self.settings)
        folder = artifacts.local(registry.files_of(store, store.version(self.slug, version)))
        assert folder is not None
        return folder / "bundle"


@pytest.fixture
def candidate(either: Settings, project: Project, bundle: Path, evaluation: Evaluation) -> Candidate:
    return Candidate(either, project, bundle, evaluation)


def test_a_candidate_is_registered_once_and_fetched_as_it_was(candidate: Candidate, tmp_path: Path) -> None:
    version = candidate.register()
    assert candidate.register() == version == 1
    digest = files.digest(candidate.bundle)
    described = mlflow.describe(candidate.settings, candidate.slug, version)
    assert (described.run_key, described.digest, described.verdict) == ("run-1", digest, None)
    assert described.tags["evertune.data_version"] == TAGS["data_version"]
    fetched = candidate.fetch(version, tmp_path / "fetched")
    assert files.verify(fetched, digest) == digest
    shutil.rmtree(candidate.stored(version))
    assert candidate.fetch(version, fetched) == fetched, "it was there: nothing to fetch"


def test_another_bundle_of_the_same_run_is_another_version(candidate: Candidate) -> None:
    first = candidate.register()
    with files.new_folder(candidate.bundle) as folder:
        (folder / "model.safetensors").write_bytes(b"trained anew")
    assert candidate.register() == first + 1


@pytest.mark.parametrize("killed_at", ["create_version", "finish_model"])
def test_a_kill_between_the_files_and_the_version_leaves_one_model(
    candidate: Candidate, monkeypatch: pytest.MonkeyPatch, killed_at: str
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(type(connect(candidate.settings)), killed_at, killed)
        with pytest.raises(KeyboardInterrupt):
            candidate.register()
    assert candidate.register() == 1
    models = candidate.stored(1).parents[2]
    assert len(list(models.iterdir())) == 1, "the files must not be there twice"


@pytest.mark.parametrize("damage", ["flipped", "missing", "added", "resealed", "gone"])
def test_a_damaged_artefact_is_refused_and_nothing_is_left(candidate: Candidate, tmp_path: Path, damage: str) -> None:
    version = candidate.register()
    stored = candidate.stored(version)
    weights = stored / "model.safetensors"
    if damage == "flipped":
        weights.write_bytes(bytes([weights.read_bytes()[0] ^ 1]) + weights.read_bytes()[1:])
    elif damage == "missing":
        weights.unlink()
    elif damage == "added":
        (stored / "evil.pkl").touch()
    elif damage == "resealed":
        weights.write_bytes(b"another model")
        files.seal(stored)
    else:
        shutil.rmtree(stored)
    raised = EvertuneError if damage == "gone" else files.CorruptError
    with pytest.raises(raised):
        candidate.fetch(version, tmp_path / "fetched")
    assert not list(tmp_path.glob("*fetched*"))


def test_a_damaged_local_copy_is_fetched_anew(candidate: Candidate, tmp_path: Path) -> None:
    version = candidate.register()
    fetched = candidate.fetch(version, tmp_path / "fetched")
    (fetched / "model.safetensors").write_bytes(b"flipped")
    assert files.verify(candidate.fetch(version, fetched)) == files.digest(candidate.bundle)


def test_the_verdict_and_its_reasons_stay_with_a_rejected_candidate(candidate: Candidate) -> None:
    version = candidate.register()
    verdict = Verdict(decision=Decision.REJECT, reasons=("accuracy fell by 2 points", "x" * 9000))
    mlflow.set_verdict(candidate.settings, candidate.slug, version, verdict)
    described = mlflow.describe(candidate.settings, candidate.slug, version)
    assert described.verdict == "reject"
    assert described.description.startswith("reject:\naccuracy fell by 2 points\nxxx")


def test_a_version_that_is_not_there_or_not_evertunes_is_named(either: Settings, project: Project) -> None:
    with pytest.raises(EvertuneError, match=f"no version 7 of {project.slug}"):
        mlflow.describe(either, project.slug, 7)
    store = connect(either)
    run_id = mlflow.start_run(either, project, "run-1", {})
    model = store.create_model(store.run(run_id).experiment, project.slug, run_id, {RUN_KEY: "x"})
    store.create_version(project.slug, model.id, run_id, {})
    with pytest.raises(EvertuneError, match="not registered by evertune"):
        mlflow.describe(either, project.slug, 1)


def test_there_is_nothing_to_unpickle_in_what_is_registered(candidate: Candidate) -> None:
    version = candidate.register(examples=["good", "bad"])
    folder = candidate.stored(version).parent
    names = {file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file()}
    assert names == {
        "MLmodel", "README.md", "conda.yaml", "python_env.yaml", "requirements.txt",
        "input_example.json", "serving_input_example.json",
        "bundle/manifest.json", "bundle/model.safetensors", "bundle/evertune.json",
    }  # fmt: skip


@pytest.fixture
def rows(tmp_path: Path) -> Path:
    (tmp_path / "rows.parquet").write_bytes(b"some rows")
    return tmp_path / "rows.parquet"


def test_check_rows_come_back_as_they_were(candidate: Candidate, rows: Path, tmp_path: Path) -> None:
    version = candidate.register(checks=rows)
    fetched = mlflow.fetch_checks(candidate.settings, candidate.slug, version, tmp_path / "back" / "checks.parquet")
    assert fetched is not None
    assert fetched.read_bytes() == rows.read_bytes()
    shutil.rmtree(candidate.stored(version).parent / "checks")
    assert mlflow.fetch_checks(candidate.settings, candidate.slug, version, fetched) == fetched, "it was there"


def test_a_version_without_check_rows_has_none(candidate: Candidate, tmp_path: Path) -> None:
    version = candidate.register()
    assert mlflow.fetch_checks(candidate.settings, candidate.slug, version, tmp_path / "checks.parquet") is None


@pytest.mark.parametrize("damage", ["changed", "missing", "linked"])
def test_check_rows_that_are_not_those_that_were_registered_are_refused(
    candidate: Candidate, rows: Path, tmp_path: Path, damage: str
) -> None:
    version = candidate.register(checks=rows)
    stored = candidate.stored(version).parent / "checks" / "checks.parquet"
    stored.unlink()
    if damage == "changed":
        stored.write_bytes(b"other rows")
    elif damage == "linked":
        stored.symlink_to(rows)
    with pytest.raises(files.CorruptError, match="not those that were registered"):
        mlflow.fetch_checks(candidate.settings, candidate.slug, version, tmp_path / "checks.parquet")
    assert not (tmp_path / "checks.parquet").exists()
