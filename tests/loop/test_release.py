"""What a person may do to a release: by hand, with a reason that is kept, and never to a bundle that is not there."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine
from tests.support import small_project, write_project
from typer.testing import CliRunner

from evertune.cli.main import app
from evertune.files import CorruptError
from evertune.ledger import engine, releases, runs, triggers
from evertune.loop import answered_at, promote_by_hand, refuse, rollback
from evertune.models import signing
from evertune.project import Project
from evertune.project.load import load
from evertune.records import (
    Cause,
    Decision,
    EvertuneError,
    Outcome,
    Release,
    RunStatus,
    StaleError,
    UnfitError,
    UnreachableError,
    Verdict,
)
from evertune.releases import mlflow, promote
from evertune.releases.mlflow import RegisteredVersion
from evertune.releases.mlflow.store import MissingError
from evertune.settings import Settings

SLUG = "small-reviews"
PARTS = ("fetch", "fetch_checks", "fetch_card")
"""What a server fetches of a version."""


class Registry:
    """MLflow's versions; each is signed, and version n was made by the run of the night n."""

    def __init__(self, where: Settings) -> None:
        self.where = where
        self.runs: dict[int, str] = {}
        self.gone: set[int] = set()
        self.lost: set[tuple[str, int]] = set()
        """Of which version which artefacts were deleted."""
        self.verdicts: list[tuple[int, Verdict]] = []

    def describe(self, _: Settings, __: str, version: int) -> RegisteredVersion:
        if version in self.gone:
            raise EvertuneError(f"MLflow has no version {version}.")
        digest = f"{version:064x}"
        tags = {"evertune.signature": signing.sign(digest, self.where)}
        return RegisteredVersion(
            version=version, run_key=self.runs[version], digest=digest, verdict=None, description="", tags=tags
        )

    def find(self, what: str, version: int) -> None:
        if (what, version) in self.lost:
            raise MissingError(f"/artefacts/{version}/{what} is gone from MLflow's artefacts.")

    def set_verdict(self, _: Settings, __: str, version: int, verdict: Verdict) -> None:
        self.verdicts.append((version, verdict))


@pytest.fixture
def registry(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry(environment)
    monkeypatch.setattr(mlflow, "describe", made.describe)
    monkeypatch.setattr(mlflow, "set_verdict", made.set_verdict)
    monkeypatch.setattr(mlflow, "reconcile", lambda *_: None)
    for name in PARTS:
        monkeypatch.setattr(mlflow, name, lambda _, __, version, *___, name=name: made.find(name, version))
    return made


@pytest.fixture
def project(environment: Settings) -> Project:
    return load(write_project(environment, small_project()))


@pytest.fixture
def ledger(environment: Settings) -> Engine:
    return engine.ready(environment.database_url)


def night(ledger: Engine, registry: Registry, number: int, *, approval: bool = False) -> str:
    """A run whose model, version n, the gate would promote; it does, unless a person must approve."""
    triggers.request(ledger, SLUG, Cause.CLOCK, f"night {number}", "night")
    run = runs.claim(ledger, SLUG, "one", 60)
    assert run is not None
    registry.runs[number] = run.key
    if not approval:
        promote.promote(ledger, run, SLUG, number, f"{number:064x}", run.key, run.champion, "gate")
    verdict = Verdict(decision=Decision.PROMOTE, reasons=("it is better",))
    told = Outcome(
        run_key=run.key, project=SLUG, method="full", verdict=verdict, model_version=number, awaiting_approval=approval
    )
    runs.finish(ledger, run, told, RunStatus.AWAITING_APPROVAL if approval else RunStatus.FINISHED)
    return run.key


def current(ledger: Engine) -> Release:
    found = releases.current(ledger, SLUG)
    assert found is not None
    return found


def evertune(*arguments: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, [*arguments, "--json"], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    told: dict[str, Any] = json.loads(done.stdout)
    return told


def test_a_rollback_to_a_model_that_is_gone_is_refused_and_commits_nothing(
    environment: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2):
        night(ledger, registry, number)
    registry.gone = {1}
    with pytest.raises(EvertuneError, match="no version 1"):
        rollback(SLUG, environment, by="ann")
    registry.gone = set()
    with monkeypatch.context() as patch:
        patch.setattr(signing, "sign", lambda *_: "forged")
        with pytest.raises(CorruptError):
            rollback(SLUG, environment, by="ann")
    assert current(ledger).generation == 2
    assert rollback(SLUG, environment, by="ann").model_version == 1


@pytest.mark.parametrize("part", PARTS)
def test_a_version_whose_files_were_deleted_is_not_released(
    environment: Settings, registry: Registry, ledger: Engine, part: str
) -> None:
    for number in (1, 2):
        night(ledger, registry, number)
    registry.lost = {(part, 1)}
    for release in (rollback, partial(promote_by_hand, model_version=1)):
        with pytest.raises(EvertuneError, match=rf"Version 1 .* cannot answer: .*{part} is gone.*Nothing was changed"):
            release(SLUG, environment, by="ann")
    assert current(ledger).generation == 2
    registry.lost = {(part, 2)}
    assert rollback(SLUG, environment, by="ann").model_version == 1


def test_a_look_takes_no_kept_copy_for_an_answer_and_leaves_nothing(
    environment: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    fetched: list[Path] = []

    def fetch(_: Settings, __: str, ___: int, ____: str, to: Path) -> Path:
        assert not to.exists()
        to.mkdir()
        fetched.append(to)
        return to

    monkeypatch.setattr(mlflow, "fetch", fetch)
    night(ledger, registry, 1)
    for _ in range(2):
        promote_by_hand(SLUG, environment, by="ann", model_version=1)
    assert len(fetched) == 2
    assert not [path for path in fetched if path.parent.exists()]


@pytest.mark.parametrize("act", [partial(promote_by_hand, model_version=2), rollback])
def test_what_somebody_else_was_faster_with_is_refused(
    environment: Settings,
    registry: Registry,
    ledger: Engine,
    monkeypatch: pytest.MonkeyPatch,
    act: Callable[..., Release],
) -> None:
    for number in (1, 2):
        night(ledger, registry, number)
    look = registry.describe

    def slowly(*asked: Any) -> RegisteredVersion:
        promote.rollback(ledger, SLUG, "bob")
        return look(*asked)

    monkeypatch.setattr(mlflow, "describe", slowly)
    with pytest.raises(EvertuneError, match="nothing was changed"):
        act(SLUG, environment, by="ann")
    assert (current(ledger).generation, current(ledger).approved_by) == (3, "bob")


def test_a_release_over_another_generation_than_the_person_saw_is_refused(
    registry: Registry, project: Project, ledger: Engine
) -> None:
    for number in (1, 2, 3):
        night(ledger, registry, number)
    for command in (["rollback", SLUG], ["promote", SLUG, "--model-version", "3"]):
        done = CliRunner().invoke(app, ["release", *command, "--expected", "1"])
        assert isinstance(done.exception, StaleError)
    assert current(ledger).generation == 3
    back = evertune("release", "rollback", SLUG, "--expected", "3")
    assert (back["generation"], back["model_version"]) == (4, 2)
    assert evertune("release", "rollback", SLUG, "--expected", "3") == back, "the same again, as after a lost answer"
    assert evertune("release", "promote", SLUG, "--model-version", "3", "--expected", "4")["generation"] == 5


def test_two_people_who_go_back_one_after_the_other_go_back_one_model(
    registry: Registry, project: Project, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in (1, 2, 3):
        night(ledger, registry, number)
    monkeypatch.setenv("LOGNAME", "bob")
    assert evertune("release", "rollback", SLUG)["model_version"] == 2
    monkeypatch.setenv("LOGNAME", "ann")
    done = CliRunner().invoke(app, ["release", "rollback", SLUG])
    assert isinstance(done.exception, StaleError)
    assert "bob has gone back already, at 2" in str(done.exception)
    assert "Generation 4, with model version 2, answers now, and nothing was changed" in str(done.exception)
    assert current(ledger).generation == 4
    further = str(done.exception).partition("evertune release rollback ")[2].rstrip(".").split()
    assert evertune("release", "rollback", *further)["model_version"] == 1, "who says so goes back further"
    assert evertune("release", "rollback", SLUG, "--to", "2")["model_version"] == 2, "and who names a goal"


def test_who_goes_back_twice_means_it(registry: Registry, project: Project, ledger: Engine) -> None:
    for number in (1, 2, 3):
        night(ledger, registry, number)
    assert [evertune("release", "rollback", SLUG)["model_version"] for _ in range(2)] == [2, 1]


def test_it_is_shown_which_model_takes_the_place_of_which(registry: Registry, project: Project, ledger: Engine) -> None:
    for number in (1, 2):
        night(ledger, registry, number)
    for command, told in (
        (["rollback", SLUG], "generation 3 answers with model version 1, in place of 2 (generation 2)."),
        (["promote", SLUG, "--model-version", "2"], "generation 4 answers with model version 2, in place of 1"),
    ):
        done = CliRunner().invoke(app, ["release", *command], env={"COLUMNS": "200"}, catch_exceptions=False)
        assert f"{SLUG}: {told}" in done.stdout


def test_the_first_release_takes_nobodys_place(registry: Registry, project: Project, ledger: Engine) -> None:
    night(ledger, registry, 1, approval=True)
    done = CliRunner().invoke(app, ["release", "promote", SLUG], catch_exceptions=False)
    assert done.stdout == f"{SLUG}: generation 1 answers with model version 1.\n"


def test_a_form_is_about_what_answered_when_it_was_sent(
    environment: Settings, registry: Registry, ledger: Engine
) -> None:
    assert answered_at(SLUG, environment, datetime.now(UTC)) == 0
    for number in (1, 2, 3):
        night(ledger, registry, number)
    sent = current(ledger).created
    for _ in range(2):  # two forms, or one whose task was cleared: the second finds the rollback done
        expected = answered_at(SLUG, environment, sent)
        assert expected == 3
        time.sleep(0.002)  # the ledger's clock counts milliseconds: none of this is of one moment with what was sent
        assert rollback(SLUG, environment, by="ann", expected=expected).model_version == 2
    assert current(ledger).generation == 4
    assert answered_at(SLUG, environment, sent - timedelta(days=1)) == 0


def test_the_reasons_of_a_person_are_kept_and_listed(registry: Registry, project: Project, ledger: Engine) -> None:
    night(ledger, registry, 1)
    night(ledger, registry, 2, approval=True)
    told = evertune("release", "promote", SLUG, "--reason", "the [b]owner[/b] wants it")
    assert told["reason"] == "the [b]owner[/b] wants it"
    evertune("release", "rollback", SLUG, "--reason", "worse on short texts")
    listed = evertune("release", "list", SLUG)["releases"]
    assert [(one["generation"], one["reason"]) for one in listed] == [
        (3, "worse on short texts"), (2, "the [b]owner[/b] wants it"), (1, ""),
    ]  # fmt: skip
    for command in (["release", "list", SLUG], ["status", SLUG]):
        printed = CliRunner().invoke(app, command, env={"COLUMNS": "200"}, catch_exceptions=False).stdout
        assert "worse on short texts" in printed
    assert "[b]owner" in CliRunner().invoke(app, ["release", "list", SLUG], env={"COLUMNS": "200"}).stdout


TWICE = "two files of one slug"


@pytest.mark.parametrize("unfit", ["owner: 1", "tuning: {", TWICE])
def test_a_release_is_made_and_taken_back_while_the_project_file_is_unfit(
    registry: Registry, project: Project, ledger: Engine, unfit: str
) -> None:
    file = registry.where.projects / f"{SLUG}.yaml"
    if unfit == TWICE:
        file.with_name("copy.yaml").write_text(file.read_text())
    else:
        file.rename(file.with_name("called-otherwise.yaml")).write_text(f"slug: {SLUG}\n{unfit}\n")
    for number in (1, 2):
        night(ledger, registry, number)
    assert evertune("release", "rollback", SLUG)["model_version"] == 1
    assert evertune("release", "promote", SLUG, "--model-version", "2")["generation"] == 4
    assert len(evertune("release", "list", SLUG)["releases"]) == 4
    night(ledger, registry, 5, approval=True)
    assert evertune("release", "refuse", SLUG, "--reason", "no")["reason"] == "no"
    done = CliRunner().invoke(app, ["release", "rollback", "small-review"])
    assert isinstance(done.exception, UnfitError)
    assert current(ledger).generation == 4


def test_a_person_says_no(registry: Registry, project: Project, ledger: Engine) -> None:
    night(ledger, registry, 1)
    run_key = night(ledger, registry, 2, approval=True)
    told = evertune("release", "refuse", SLUG, "--reason", "the slice of short texts got worse")
    assert told["refused"] == run_key
    entry = runs.get(ledger, run_key)
    assert entry is not None
    assert entry.status is RunStatus.FINISHED
    assert "the slice of short texts got worse" in str(entry.message)
    assert current(ledger).generation == 1
    ((version, verdict),) = registry.verdicts
    assert (version, verdict.decision) == (2, Decision.REJECT)
    assert "the slice of short texts got worse" in verdict.reasons[-1]
    with pytest.raises(EvertuneError, match="awaits approval"):
        promote_by_hand(SLUG, registry.where, by="bob")


def test_a_no_counts_although_mlflow_is_away(
    environment: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def away(*_: object) -> None:
        raise UnreachableError("MLflow does not answer.")

    run_key = night(ledger, registry, 1, approval=True)
    monkeypatch.setattr(mlflow, "set_verdict", away)
    assert refuse(SLUG, environment, by="ann", reason="no") == run_key


def test_a_no_needs_a_reason_and_something_to_refuse(environment: Settings, registry: Registry, ledger: Engine) -> None:
    with pytest.raises(EvertuneError, match="nothing to refuse"):
        refuse(SLUG, environment, by="ann", reason="no")
    night(ledger, registry, 1, approval=True)
    with pytest.raises(EvertuneError, match="Say why"):
        refuse(SLUG, environment, by="ann", reason=" ")
