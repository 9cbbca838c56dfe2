"""A stage as a process of its own: what it leaves when it succeeds, fails, or finds another at work."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from evertune import files
from evertune.data import stages, versions
from evertune.data.plans import RECIPES
from evertune.data.versions import Workspace
from evertune.project import Project
from evertune.records import Pins, Step, UnfitError
from evertune.settings import Settings

SLUG = "shop-reviews"


@pytest.fixture
def workspace(local_project: Project, where: Settings, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """An opened workspace that is the working directory, as it is for a stage."""
    opened = versions.open_workspace(where, "run-1", local_project, versions.pin(local_project, where))
    monkeypatch.chdir(opened.folder)
    monkeypatch.setenv("EVERTUNE_HOME", str(where.home))
    return opened


def fault(workspace: Workspace, step: str) -> dict[str, str]:
    left: dict[str, str] = files.read_json(workspace.folder / "faults" / f"{step}.json")
    return left


def test_a_workspace_holds_its_project_and_pins(workspace: Workspace, local_project: Project) -> None:
    project, pins = stages.inputs(workspace.folder, SLUG)
    assert project == local_project
    assert pins.recipes == dict(RECIPES)


def test_a_repository_holds_them_beside_the_plans(tmp_path: Path, local_project: Project) -> None:
    pins = Pins(sources={}, base="b", recipes={})
    for name, record in (("project.json", local_project), ("pins.json", pins)):
        files.write_json(tmp_path / "plans" / SLUG / name, record.model_dump(mode="json"))
    assert stages.inputs(tmp_path, SLUG) == (local_project, pins)


def test_a_snapshot_is_a_sealed_folder(workspace: Workspace) -> None:
    assert stages.main(["snapshot", SLUG]) == 0
    assert files.verify(workspace.folder / "data" / SLUG / "snapshot")
    assert not (workspace.folder / "faults").exists()


def test_a_fault_is_left_in_words_with_its_exit_status(
    workspace: Workspace, local_project: Project, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(local_project.data.sources[0].uri).unlink()
    assert stages.main(["snapshot", SLUG]) == UnfitError.exit_code
    assert fault(workspace, "snapshot")["type"] == "UnfitError"
    assert "reviews.csv" in fault(workspace, "snapshot")["message"]
    assert "reviews.csv" in capsys.readouterr().err
    assert not (workspace.folder / "data" / SLUG / "snapshot").exists()


def test_a_base_that_changed_since_it_was_pinned_is_refused(workspace: Workspace, where: Settings) -> None:
    pins = files.read_json(workspace.folder / "pins.json")
    project, _ = stages.inputs(workspace.folder, SLUG)
    files.write_json(workspace.folder / "pins.json", {**pins, "base": "f" * 64})
    with pytest.raises(UnfitError, match="has changed since"):
        stages.run(Step.PREPARE, SLUG, workspace.folder, where)
    assert project.slug == SLUG


@pytest.mark.integration
def test_unfit_data_leaves_its_quarantine_where_dvc_does_not_take_it_for_a_result(
    workspace: Workspace, local_project: Project
) -> None:
    document = local_project.model_dump(mode="json")
    document["data"]["label"] = {"classes": ["good", "excellent"]}
    document["validation"]["max_bad_share"] = 0.01
    files.write_json(workspace.folder / "project.json", document)
    for _ in range(2):  # again: the one that was left is replaced
        assert stages.main(["snapshot", SLUG]) == 0
        assert stages.main(["validate", SLUG]) == UnfitError.exit_code
        assert not (workspace.folder / "data" / SLUG / "valid").exists()
        failed = workspace.folder / "failed" / SLUG / "valid"
        files.verify(failed)
        assert (failed / "quarantine.parquet").is_file()
        assert list((failed / "data_docs").rglob("*.html"))
        said = fault(workspace, "validate")["message"]
        assert str(failed / "quarantine.parquet") in said
        assert str(Path("data") / SLUG / "valid") not in said


@pytest.mark.faults
def test_a_full_disk_is_one_sentence_and_leaves_nothing(workspace: Workspace) -> None:
    # A limit on file size stands in for a full disk: the same write fails, with EFBIG.
    code = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000));"
        f"from evertune.data import stages; sys.exit(stages.main(['snapshot', '{SLUG}']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "disk is full" in fault(workspace, "snapshot")["message"]
    assert not list((workspace.folder / "data" / SLUG).glob("*"))


@pytest.mark.faults
def test_a_stage_waits_for_one_that_outlived_its_dvc(workspace: Workspace) -> None:
    holder = (
        "import sys, time; from pathlib import Path; from evertune import files\n"
        f"with files.lock(Path('.dvc/tmp/evertune.{SLUG}.snapshot.lock')):\n"
        "    print('held', flush=True); time.sleep(2); Path('left').touch()\n"
    )
    with subprocess.Popen([sys.executable, "-c", holder], stdout=subprocess.PIPE, text=True) as orphan:
        assert orphan.stdout is not None
        assert orphan.stdout.readline() == "held\n"
        assert stages.main(["snapshot", SLUG]) == 0
        assert Path("left").exists()  # else it would have begun while the other still held the lock
    assert files.verify(workspace.folder / "data" / SLUG / "snapshot")


def test_the_module_is_a_command(workspace: Workspace) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "evertune.data.stages", "snapshot", SLUG],
        env={**os.environ, "PYTHONSAFEPATH": "1"}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    summary = json.loads((workspace.folder / "data" / SLUG / "snapshot" / "summary.json").read_text())
    assert summary["drawn"] == 302
