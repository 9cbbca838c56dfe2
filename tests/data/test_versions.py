"""Data versions by real DVC: what is done again, what is shared, what comes back."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from evertune import files
from evertune.data import dvc, versions
from evertune.data.versions import PIPELINE, Workspace
from evertune.project import Project
from evertune.records import EvertuneError, Pins, Step, UnfitError, UnreachableError
from evertune.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
STEPS = (Step.SNAPSHOT, Step.VALIDATE, Step.PREPARE)
SLUG = "shop-reviews"
RESTORED = [".dvc", "data", "dvc.lock", "dvc.yaml", "params.yaml", "plans"]


def with_blocks(project: Project, **blocks: dict[str, object]) -> Project:
    """The project with some options of some blocks set."""
    document = project.model_dump(mode="json")
    for name, options in blocks.items():
        document[name] |= options
    return Project.model_validate(document)


def build(where: Settings, key: str, project: Project) -> Workspace:
    workspace = versions.open_workspace(where, key, project, versions.pin(project, where))
    versions.repro(workspace, Step.PREPARE)  # brings the steps before it up to date, too
    return workspace


def ran(workspace: Workspace) -> set[str]:
    """The stages whose command DVC really ran in the last repro."""
    log = (workspace.folder / "logs" / "prepare.log").read_text()
    return {step.value for step in STEPS if f"> python -m evertune.data.stages {step.value} {SLUG}" in log}


def digests(folder: Path) -> dict[str, str]:
    return {path.relative_to(folder).as_posix(): files.sha256(path) for path in folder.rglob("*") if path.is_file()}


def test_the_definition_at_the_root_is_the_packaged_one() -> None:
    assert (ROOT / "dvc.yaml").read_bytes() == PIPELINE.read_bytes()


def test_a_workspace_is_made_once(local_project: Project, where: Settings) -> None:
    pins = versions.pin(local_project, where)
    workspace = versions.open_workspace(where, "run-1", local_project, pins)
    before = {path: path.stat().st_mtime_ns for path in workspace.folder.rglob("*") if path.is_file()}
    assert versions.open_workspace(where, "run-1", local_project, pins) == workspace
    assert {path: path.stat().st_mtime_ns for path in workspace.folder.rglob("*") if path.is_file()} == before
    assert (workspace.folder / "params.yaml").read_text() == f"projects:\n  - {SLUG}\n"
    assert str(where.home) not in "".join(p.read_text() for p in (workspace.folder / "plans").rglob("*.json"))
    assert Path(where.remote).is_dir()


def test_a_run_key_that_is_no_folder_name_is_refused(local_project: Project, where: Settings) -> None:
    with pytest.raises(EvertuneError, match="no run key"):
        versions.open_workspace(where, "../elsewhere", local_project, versions.pin(local_project, where))


def test_pins_are_the_hashes_of_what_is_there(local_project: Project, where: Settings) -> None:
    path = Path(local_project.data.sources[0].uri)
    pins = versions.pin(local_project, where)
    assert pins.sources == {str(path): files.sha256(path)}
    path.write_text(path.read_text() + "900_0,one more,good,shop 1\n")
    assert versions.pin(local_project, where).sources != pins.sources
    assert versions.pin(local_project, where).base == pins.base


def test_planning_imports_nothing_heavy(local_project: Project, where: Settings) -> None:
    code = (
        "import sys; from evertune import files, settings; from evertune.data import versions;"
        "from evertune.project import Project; from pathlib import Path;"
        "project = Project.model_validate(files.read_json(Path(sys.argv[1])));"
        "versions.plan_hash(project, versions.pin(project, settings.load()));"
        "heavy = {'torch', 'transformers', 'pandas', 'great_expectations', 'mlflow', 'dvc'};"
        "sys.exit(' '.join(heavy & set(sys.modules)) or 0)"
    )
    where.home.mkdir()
    files.write_json(where.home / "project.json", local_project.model_dump(mode="json"))
    done = subprocess.run(
        [sys.executable, "-c", code, str(where.home / "project.json")],
        env={**os.environ, "EVERTUNE_HOME": str(where.home)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("remote", ["gone/remote", "file.txt"])
def test_a_remote_that_is_not_there_is_said_before_anything_runs(
    remote: str, local_project: Project, where: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file.txt").write_text("no folder")
    away = where.model_copy(update={"remote": str(tmp_path / remote)})
    with pytest.raises(UnreachableError, match=r"(?s)remote .* is not there.*EVERTUNE_REMOTE"):
        versions.open_workspace(away, "run-1", local_project, versions.pin(local_project, away))
    assert not (away.runs / "run-1").exists()
    assert not (tmp_path / "gone").exists()


def test_a_folder_that_is_not_empty_is_not_checked_out_into(
    local_project: Project, where: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("mine")
    for to in (tmp_path, tmp_path / "file"):
        with pytest.raises(UnfitError, match="is not an empty folder"):
            versions.checkout(where, "", local_project, Pins(sources={}, base="", recipes={}), to)
    assert (tmp_path / "file").read_text() == "mine"
    assert not Path(where.remote).exists()


@pytest.mark.integration
def test_the_same_pins_in_another_workspace_are_all_cached(local_project: Project, where: Settings) -> None:
    one = build(where, "run-1", local_project)
    assert ran(one) == {"snapshot", "validate", "prepare"}
    two = build(where, "run-2", local_project)
    assert ran(two) == set()
    assert (two.folder / "dvc.lock").read_bytes() == (one.folder / "dvc.lock").read_bytes()
    first, second = versions.dataset(one), versions.dataset(two)
    assert first.model_copy(update={"path": second.path}) == second
    assert digests(Path(first.path)) == digests(Path(second.path))
    assert first.labels == ("bad", "good")
    assert first.rows.drawn == 302
    assert first.rows.deduplicated >= 2


@pytest.mark.integration
def test_only_what_a_change_touches_is_done_again(local_project: Project, where: Settings) -> None:
    build(where, "run-1", local_project)
    changes: list[tuple[dict[str, dict[str, object]], set[str]]] = [
        ({"gate": {"smallest_gain": 0.02}, "tuning": {"learning_rate": 3e-4}}, set()),
        ({"preparation": {"max_tokens": 12}}, {"prepare"}),
        ({"validation": {"max_bad_share": 0.4}}, {"validate"}),  # the same rows come out: prepare need not run
        ({"validation": {"max_characters": 120}}, {"validate", "prepare"}),
    ]
    for number, (blocks, expected) in enumerate(changes):
        workspace = build(where, f"changed-{number}", with_blocks(local_project, **blocks))
        assert ran(workspace) == expected, blocks


@pytest.mark.integration
def test_the_very_bytes_come_back_when_all_but_the_remote_is_gone(
    local_project: Project, where: Settings, tmp_path: Path
) -> None:
    workspace = build(where, "run-1", local_project)
    versions.push(workspace)
    made = versions.dataset(workspace)
    before = digests(workspace.folder / "data")
    pins = versions.pin(local_project, where)
    shutil.rmtree(where.cache)
    shutil.rmtree(where.runs)
    to = tmp_path / "restored"
    folder = versions.checkout(where, made.lock, local_project, pins, to)
    assert folder == to / "data" / SLUG / "dataset"
    assert digests(to / "data") == before
    assert files.digest(folder) == made.version
    (folder / "labels.json").write_text("a person may change their own copy")
    again = versions.checkout(where, made.lock, local_project, pins, tmp_path / "again")
    assert files.digest(again) == made.version


@pytest.mark.integration
@pytest.mark.parametrize("kind", ["s3", "gs"])
def test_a_bucket_keeps_the_data_by_settings_alone(
    local_project: Project, where: Settings, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    far = where.model_copy(update={"remote": f"{request.getfixturevalue(kind)}/data"})
    workspace = build(far, "run-1", local_project)
    versions.push(workspace)
    made = versions.dataset(workspace)
    pins = versions.pin(local_project, far)
    shutil.rmtree(far.home)
    folder = versions.checkout(far, made.lock, local_project, pins, tmp_path / "restored")
    assert files.digest(folder) == files.verify(folder) == made.version


@pytest.fixture
def restored(local_project: Project, where: Settings, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Path]:
    """Checks out with a pull that writes one file and then does what is given."""

    def checkout(to: Path, pull: Callable[[], object] = lambda: None) -> Path:
        def run(workspace: Path, *_: object) -> float:
            with files.new_folder(workspace / "data" / SLUG / "dataset") as folder:
                (folder / "labels.json").write_text("[]")
            pull()
            return 0.0

        monkeypatch.setattr(dvc, "run", run)
        return versions.checkout(where, "a lock", local_project, versions.pin(local_project, where), to)

    Path(where.remote).mkdir(parents=True)
    return checkout


def stop(fault: type[BaseException]) -> Callable[[], object]:
    def raising() -> None:
        raise fault

    return raising


@pytest.mark.parametrize("there", [False, True])
@pytest.mark.parametrize("fault", [UnreachableError, KeyboardInterrupt])
def test_a_checkout_that_fails_leaves_nothing_and_can_be_tried_again(
    restored: Callable[..., Path], tmp_path: Path, there: bool, fault: type[BaseException]
) -> None:
    (parent := tmp_path / "new").mkdir()
    to = parent / "restored"
    if there:
        to.mkdir()
    with pytest.raises(fault):
        restored(to, stop(fault))
    assert list(parent.rglob("*")) == ([to] if there else [])
    assert files.verify(restored(to))
    assert [path.name for path in parent.iterdir()] == ["restored"]
    assert sorted(path.name for path in to.iterdir()) == RESTORED


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_checkout_leaves_does_not_stand_in_the_way(
    restored: Callable[..., Path], tmp_path: Path, there: bool
) -> None:
    to = tmp_path / "restored"
    left = to / versions.ASIDE if there else tmp_path / f".restored{versions.ASIDE}"
    (left / "data").mkdir(parents=True)
    (left / "data" / "half").write_text("")
    folder = restored(to)
    assert files.verify(folder)
    assert not left.exists()
    assert not list(to.rglob("half"))


def killed(restored: Callable[..., Path], to: Path, after: int) -> None:
    """A checkout into ``to``, there and empty, that is killed just after so many renames of what was pulled."""
    rename, made = Path.rename, 0

    def counted(path: Path, target: Path) -> Path:
        nonlocal made
        there, made = rename(path, target), made + 1
        if made == after:
            os.kill(os.getpid(), signal.SIGKILL)
        return there

    to.mkdir()
    child = multiprocessing.get_context("fork").Process(
        target=restored, args=(to, lambda: setattr(Path, "rename", counted))
    )
    child.start()
    child.join()
    assert child.exitcode == -signal.SIGKILL


@pytest.mark.parametrize("after", range(1, len(RESTORED) + 2))
def test_a_checkout_that_is_killed_while_it_moves_its_files_in_is_finished(
    restored: Callable[..., Path], tmp_path: Path, after: int
) -> None:
    killed(restored, to := tmp_path / "restored", after)
    (to / "mine").write_text("a person's, by now")
    assert files.verify(restored(to, stop(AssertionError)))  # nothing is pulled again
    assert sorted(path.name for path in to.iterdir()) == sorted([*RESTORED, "mine"])


def test_what_a_person_has_put_in_the_way_of_a_checkout_is_kept(restored: Callable[..., Path], tmp_path: Path) -> None:
    killed(restored, to := tmp_path / "restored", 2)
    (mine := to / "plans").write_text("a person's")
    for _ in range(2):
        with pytest.raises(UnfitError, match="plans is in the way"):
            restored(to)
    mine.rename(tmp_path / "mine")
    assert files.verify(restored(to))
    assert (tmp_path / "mine").read_text() == "a person's"


def test_a_checkout_of_another_version_replaces_none_that_was_killed(
    local_project: Project, where: Settings, restored: Callable[..., Path], tmp_path: Path
) -> None:
    killed(restored, to := tmp_path / "restored", 2)
    with pytest.raises(UnfitError, match="not an empty folder"):
        versions.checkout(where, "another lock", local_project, versions.pin(local_project, where), to)
    assert sorted(path.name for path in to.iterdir()) == RESTORED


def test_a_checkout_in_the_folder_where_one_stands(
    restored: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    assert files.verify(restored(Path()))
    assert (Path.cwd() / "dvc.lock").read_text() == "a lock"  # the folder is still the same one


def test_a_checkout_makes_no_remote(local_project: Project, where: Settings, tmp_path: Path) -> None:
    where.home.mkdir()
    with pytest.raises(UnreachableError, match=r"remote is not there \(No such file.*Mount its disk"):
        versions.checkout(where, "", local_project, Pins(sources={}, base="", recipes={}), tmp_path / "to")
    assert not Path(where.remote).exists()
    assert not (tmp_path / "to").exists()


@pytest.mark.integration
def test_a_version_that_the_remote_does_not_have_is_said_and_comes_once_it_has(
    local_project: Project, where: Settings, tmp_path: Path
) -> None:
    workspace = build(where, "run-1", local_project)
    made, pins = versions.dataset(workspace), versions.pin(local_project, where)
    versions.push(workspace)
    (kept := Path(where.remote)).rename(tmp_path / "away")
    kept.mkdir()
    shutil.rmtree(where.cache)
    with pytest.raises(UnreachableError, match=str(where.remote)):
        versions.checkout(where, made.lock, local_project, pins, tmp_path / "to")
    kept.rmdir()
    (tmp_path / "away").rename(kept)
    folder = versions.checkout(where, made.lock, local_project, pins, tmp_path / "to")
    assert files.verify(folder) == made.version
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "status"], cwd=tmp_path / "to", env=dvc.environment(tmp_path / "to", where),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "up to date" in done.stdout, done.stderr  # where it lies now, as if it had been made there


@pytest.mark.integration
def test_a_remote_that_goes_away_before_the_push_is_said(local_project: Project, where: Settings) -> None:
    away = where.model_copy(update={"remote": str(where.home / "mount" / "remote")})
    (where.home / "mount").mkdir(parents=True)
    workspace = versions.open_workspace(away, "run-1", local_project, versions.pin(local_project, away))
    shutil.rmtree(where.home / "mount")
    with pytest.raises(UnreachableError, match="Mount its disk"):
        versions.push(workspace)


@pytest.mark.integration
def test_what_a_stage_raised_is_raised_again(local_project: Project, where: Settings) -> None:
    strict = with_blocks(local_project, data={"label": {"classes": ["good", "excellent"]}})
    workspace = versions.open_workspace(where, "run-1", strict, versions.pin(strict, where))
    assert versions.repro(workspace, Step.SNAPSHOT) > 0
    with pytest.raises(UnfitError, match="bad"):
        versions.repro(workspace, Step.VALIDATE)
    assert (workspace.folder / "failed" / SLUG / "valid" / "quarantine.parquet").is_file()
    with pytest.raises(UnfitError):  # not taken for done
        versions.repro(workspace, Step.VALIDATE)


@pytest.mark.integration
def test_a_person_runs_plain_dvc_at_the_root(local_project: Project, where: Settings, tmp_path: Path) -> None:
    workspace = build(where, "run-1", local_project)
    root = tmp_path / "repository"
    root.mkdir()
    shutil.copy(ROOT / "dvc.yaml", root)
    subprocess.run(["git", "init", "-q", str(root)], check=True)
    written = versions.pin_all(where, root, {SLUG: local_project})
    assert root / "plans" / SLUG / "pins.json" in written
    done = subprocess.run(
        [sys.executable, "-m", "dvc", "repro"], cwd=root, env=dvc.environment(root, where), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "> python" not in done.stdout  # a run has made it already
    assert (root / "dvc.lock").read_bytes() == (workspace.folder / "dvc.lock").read_bytes()
    assert files.verify(root / "data" / SLUG / "dataset") == versions.dataset(workspace).version


@pytest.mark.integration
@pytest.mark.faults
def test_a_run_waits_for_a_dvc_that_outlived_its_task(
    local_project: Project, where: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    pins = versions.pin(local_project, where)
    workspace = versions.open_workspace(where, "run-1", local_project, pins)
    waits: list[float] = []
    nap = time.sleep

    def waiting(seconds: float) -> None:
        waits.append(seconds)
        nap(seconds)

    monkeypatch.setattr("evertune.data.dvc.time.sleep", waiting)
    command = [sys.executable, "-m", "dvc", "repro", f"validate@{SLUG}"]
    with subprocess.Popen(
        command, cwd=workspace.folder, env=dvc.environment(workspace.folder, where), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as left_over:  # fmt: skip
        while not (workspace.folder / ".dvc" / "tmp" / f"evertune.{SLUG}.validate.lock").exists():
            nap(0.05)
            assert left_over.poll() is None
        versions.repro(workspace, Step.VALIDATE)
        assert left_over.wait() == 0
    assert waits
    files.verify(workspace.folder / "data" / SLUG / "valid")


@pytest.mark.integration
@pytest.mark.faults
def test_a_killed_dvc_leaves_nothing_that_is_taken_for_whole(local_project: Project, where: Settings) -> None:
    workspace = versions.open_workspace(where, "run-1", local_project, versions.pin(local_project, where))
    command = [sys.executable, "-m", "dvc", "repro", f"validate@{SLUG}"]
    with subprocess.Popen(
        command, cwd=workspace.folder, env=dvc.environment(workspace.folder, where), stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as killed:  # fmt: skip
        while not (workspace.folder / ".dvc" / "tmp" / f"evertune.{SLUG}.validate.lock").exists():
            time.sleep(0.05)
        killed.kill()
    versions.repro(workspace, Step.PREPARE)
    assert versions.dataset(workspace).rows.drawn == 302
