"""What is kept of runs and releases, and what goes: never what somebody still needs, and never half of a folder."""

from __future__ import annotations

import shutil
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import Engine, update
from tests.ledger.made import released
from tests.ledger.made import window as cut
from tests.support import small_project, write_project

from evertune import files, jobs
from evertune.jobs.folder import take
from evertune.ledger import alerts, engine, runs, triggers
from evertune.ledger.tables import RunRow
from evertune.loop import housekeeping, reference
from evertune.loop.claim import claim
from evertune.project.load import load
from evertune.records import Cause, Evidence, Outcome, Release, Run, RunStatus, UnreachableError
from evertune.releases import promote
from evertune.settings import Settings


class Home:
    """A project's runs, one after the other, each with the folders that it leaves."""

    def __init__(self, where: Settings, ledger: Engine) -> None:
        self.where, self.ledger, self.asked = where, ledger, 0

    def begin(self, project: str = "spam") -> Run:
        self.asked += 1
        triggers.request(self.ledger, project, Cause.PERSON, f"{project} {self.asked}", "because")
        run = runs.claim(self.ledger, project, "me", 600)
        assert run is not None
        for folder in (self.where.runs, self.where.jobs):
            files.write_text(folder / run.key / "deep" / "file", "bytes")
        return run

    def end(self, run: Run, status: RunStatus = RunStatus.FINISHED) -> str:
        runs.finish(self.ledger, run, Outcome(run_key=run.key, project=run.project, method="full"), status)
        return run.key

    def rejected(self, count: int, project: str = "spam") -> list[str]:
        return [self.end(self.begin(project)) for _ in range(count)]

    def release(self, generation: int) -> str:
        """A run whose candidate answers, with what was made to judge against it and to watch it."""
        run = self.begin()
        released(self.ledger, run, generation)
        files.write_text(self.where.home / "bundles" / f"digest {generation}" / "model", "bytes")
        files.write_text(reference.folder_of(self.where, "spam", generation) / "texts", "bytes")
        return self.end(run)

    def clear(self) -> None:
        housekeeping.clear(self.ledger, self.where, "spam")

    def runs(self) -> set[str]:
        """Runs of which all is there; of the others nothing may be."""
        whole = [path.parent.parent.name for path in self.where.runs.glob("*/deep/file")]
        assert sorted(whole) == names(self.where.runs)
        assert sorted(whole) == names(self.where.jobs)
        return set(whole)

    def references(self) -> list[str]:
        return [name for name in names(self.where.home / "monitoring" / "spam") if name.isdecimal()]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture
def home(where: Settings, monkeypatch: pytest.MonkeyPatch) -> Home:
    monkeypatch.setattr(housekeeping, "RUNS", 2)
    monkeypatch.setattr(housekeeping, "REFERENCES", 1)
    return Home(where, engine.ready(where.database_url))


def test_the_newest_runs_are_kept(home: Home) -> None:
    made = home.rejected(4)
    home.clear()
    assert home.runs() == set(made[-2:])


def test_those_that_left_nothing_do_not_count(home: Home) -> None:
    made = home.rejected(4)
    for key in made[1:3]:
        shutil.rmtree(home.where.runs / key)
        shutil.rmtree(home.where.jobs / key)
    home.clear()
    assert home.runs() == {made[0], made[3]}


def test_what_answers_and_what_a_rollback_goes_back_to_are_kept(home: Home) -> None:
    first, before, answers = (home.release(generation) for generation in (1, 2, 3))
    newest = home.rejected(2)
    home.clear()
    assert first not in home.runs()
    assert home.runs() == {before, answers, *newest}
    assert names(home.where.home / "bundles") == ["digest 2", "digest 3"]
    assert home.references() == ["2", "3"]


def test_a_project_without_a_release_keeps_its_newest_too(home: Home) -> None:
    made = home.rejected(3)
    home.clear()
    assert home.runs() == set(made[1:])


def test_what_goes_on_or_waits_for_a_person_is_kept(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    awaiting = home.end(home.begin(), RunStatus.AWAITING_APPROVAL)
    active = home.begin()
    monkeypatch.setattr(housekeeping, "RUNS", 0)
    home.clear()
    assert home.runs() == {awaiting, active.key}


def test_a_project_whose_name_begins_alike_is_another(home: Home) -> None:
    made, others = home.rejected(3), home.rejected(3, "spam-2")
    home.clear()
    assert home.runs() == {*made[1:], *others}


def test_a_failed_run_is_kept_for_its_log(home: Home) -> None:
    failed = home.begin()
    runs.fail(home.ledger, failed, "MLflow was away")
    newest = home.rejected(2)
    home.clear()
    assert home.runs() == {failed.key, *newest}
    ended = runs.get(home.ledger, failed.key)
    assert ended is not None
    assert ended.ended is not None
    with engine.writing(home.ledger) as session:
        past = ended.ended - timedelta(days=30)
        session.execute(update(RunRow).where(RunRow.key == failed.key).values(ended=past))
    home.clear()
    assert home.runs() == set(newest)


def test_a_worker_that_outlives_its_run_is_not_touched(home: Home) -> None:
    oldest, *newest = home.rejected(3)
    with take(home.where.jobs / oldest / "lock") as held:
        assert held is not None
        home.clear()
        assert home.runs() == {oldest, *newest}
    home.clear()
    assert home.runs() == set(newest)


def test_folders_that_the_ledger_does_not_know_are_somebody_elses(home: Home) -> None:
    made = home.rejected(3)
    files.write_text(home.where.runs / "spam-notes" / "deep" / "file", "mine")
    files.write_text(home.where.jobs / "spam-notes" / "deep" / "file", "mine")
    home.clear()
    assert home.runs() == {*made[1:], "spam-notes"}


def test_a_reference_that_a_window_still_wants_is_kept(home: Home) -> None:
    for generation in (1, 2, 3, 4):
        home.release(generation)
    about = cut(home.ledger, 1, generation=1)
    home.clear()
    assert home.references() == ["1", "2", "3", "4"]
    alerts.record(home.ledger, about, (), Evidence(), (), before=Evidence())
    home.clear()
    assert home.references() == ["3", "4"]


def test_a_release_without_a_reference_keeps_the_one_that_it_would_be_made_of(home: Home) -> None:
    for generation in (1, 2, 3):
        home.release(generation)
    assert promote.rollback(home.ledger, "spam", "ada", to=1).generation == 4
    home.clear()
    assert home.references() == ["1", "3"], "what it knew before, and the newest"


def test_references_in_use_wait_for_the_next_run_and_hold_up_nothing_else(home: Home) -> None:
    for generation in (1, 2, 3):
        home.release(generation)
    with files.lock(home.where.home / "monitoring" / "spam" / ".lock"):
        home.clear()
    assert home.references() == ["1", "2", "3"]
    assert names(home.where.home / "bundles") == ["digest 2", "digest 3"]
    home.clear()
    assert home.references() == ["2", "3"]


def test_a_bundle_that_answers_elsewhere_too_is_kept(home: Home) -> None:
    for generation in (1, 2, 3):
        home.release(generation)
    released(home.ledger, home.begin("twin"), 1)
    home.clear()
    assert names(home.where.home / "bundles") == ["digest 1", "digest 2", "digest 3"]


def test_a_kill_in_the_middle_leaves_no_half_of_a_folder(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    made = home.rejected(5)

    class KilledError(BaseException):
        pass

    def killed(folder: Path, **_: object) -> None:
        if folder.exists():
            (folder / "deep" / "file").unlink()
            raise KilledError

    for _ in range(3):
        with monkeypatch.context() as dies:
            dies.setattr(shutil, "rmtree", killed)
            with pytest.raises(KilledError):
                home.clear()
        whole = {path.parent.parent.name for path in home.where.runs.glob("[!.]*/deep/file")}
        assert whole == {path.name for path in home.where.runs.glob("[!.]*")}
        files.sweep(home.where.jobs)
        files.sweep(home.where.runs)
    home.clear()
    assert home.runs() == set(made[-2:])


def test_a_run_clears_up_when_it_begins(warm: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    project = load(write_project(warm, small_project()))
    seen = list[str]()

    def clear(ledger: Engine, _: Settings, slug: str) -> None:
        active = runs.active(ledger, slug)
        assert active is not None
        seen.append(active.owner)

    monkeypatch.setattr(housekeeping, "clear", clear)
    assert claim(project, warm, owner="night") is not None
    assert claim(project, warm, owner="night") is not None, "a retried task finds its run"
    assert seen == ["night"]


def test_what_cannot_be_removed_holds_up_neither_the_run_nor_what_is_older(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    oldest, roots, *newest = home.rejected(4)
    for generation in (1, 2, 3):
        home.release(generation)
    monkeypatch.setattr(housekeeping, "RUNS", 5)
    remove = files.remove_folder

    def refused(folder: Path) -> None:
        if folder.name in {roots, "1", "digest 1"}:
            raise PermissionError(13, "not yours")
        remove(folder)

    monkeypatch.setattr(files, "remove_folder", refused)
    home.clear()
    assert oldest not in home.runs()
    assert {roots, *newest} <= home.runs()
    assert home.references() == ["1", "2", "3"]
    assert jobs.progress(home.where, roots) == {}


def test_what_is_left_of_a_folder_is_told_each_time(
    home: Home, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    oldest, *newest = home.rejected(3)
    rmtree = shutil.rmtree

    def stays(folder: Path, ignore_errors: bool = False) -> None:
        if not ignore_errors:
            raise PermissionError(13, "not yours")

    monkeypatch.setattr(shutil, "rmtree", stays)
    home.clear()
    assert f"{home.where.jobs / oldest} " in capsys.readouterr().out
    home.clear()
    assert f"{home.where.jobs}/.{oldest}.gone" in capsys.readouterr().out
    monkeypatch.setattr(shutil, "rmtree", rmtree)
    home.clear()
    assert home.runs() == set(newest)


def test_a_folder_that_a_person_has_put_on_another_disk_is_theirs(home: Home, tmp_path: Path) -> None:
    made = home.rejected(3)
    for kind in (home.where.runs, home.where.jobs):
        there = tmp_path / "other disk" / kind.name
        shutil.move(kind / made[0], there)
        (kind / made[0]).symlink_to(there)
    home.clear()
    assert home.runs() == set(made)


def test_nothing_goes_while_the_ledger_cannot_tell_what_is_needed(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for generation in (1, 2, 3):
        home.release(generation)

    def away(*_: object) -> Release:
        raise UnreachableError("the ledger did not answer")

    monkeypatch.setattr(promote, "target", away)
    with pytest.raises(UnreachableError):
        home.clear()
    assert home.references() == ["1", "2", "3"]
    assert len(home.runs()) == 3
