"""Each verdict as a person meets it: the exit status of `evertune run`, what `status` tells, what `release` does.

One installation, in the order of a project's life: a challenger that is worse, one that nothing is proven of, one that
waits for a person's yes, and what that person may do then. Each fixture is one of these and needs the one before.
"""

from __future__ import annotations

import getpass
import re
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import unquote

import pytest
from tests import quick
from tests.quick import SLUG, evertune

from evertune.ledger import engine, releases, runs, steps
from evertune.records import RunStatus, Step
from evertune.releases import mlflow
from evertune.releases.mlflow import model_folder
from evertune.releases.mlflow.store import CHAMPION, connect
from evertune.settings import Settings

pytestmark = pytest.mark.integration


class Told(NamedTuple):
    """How a command ended."""

    where: Settings
    status: int
    told: dict[str, Any]


@pytest.fixture(scope="module")
def rejected(tmp_path_factory: pytest.TempPathFactory, registry: Path) -> Told:
    where = quick.home(tmp_path_factory.mktemp("verdicts"), registry)
    quick.write(where, tuning={**quick.TUNING, "learning_rate": 1e-9, "epochs": 1})
    return Told(where, *evertune(where, "run", SLUG))


@pytest.fixture(scope="module")
def undecided(rejected: Told) -> Told:
    quick.write(rejected.where, gate={"confidence": 1 - 1e-15})  # more than a hundred rows can prove
    return Told(rejected.where, *evertune(rejected.where, "run", SLUG))


@pytest.fixture(scope="module")
def waiting(undecided: Told) -> Told:
    quick.write(undecided.where, gate={"approval": "person"})
    return Told(undecided.where, *evertune(undecided.where, "run", SLUG))


@pytest.fixture(scope="module")
def seen_waiting(waiting: Told) -> dict[str, Any]:
    return _status(waiting.where)


@pytest.fixture(scope="module")
def approved(waiting: Told, seen_waiting: dict[str, Any]) -> Told:
    return Told(waiting.where, *evertune(waiting.where, "release", "promote", SLUG))


def _status(where: Settings) -> dict[str, Any]:
    status, told = evertune(where, "status", SLUG)
    assert status == 0, told
    (found,) = told["projects"]
    return dict(found)


def test_a_challenger_that_is_worse_ends_with_status_3(rejected: Told) -> None:
    assert (rejected.status, rejected.told["verdict"]["decision"]) == (3, "reject")
    assert rejected.told["release"] is None
    assert rejected.told["model_version"] == 1, "rejected candidates stay"
    assert mlflow.describe(rejected.where, SLUG, 1).tags["evertune.verdict"] == "reject"


def test_a_challenger_that_nothing_is_proven_of_ends_with_status_4(undecided: Told) -> None:
    assert (undecided.status, undecided.told["verdict"]["decision"]) == (4, "not enough evidence")
    assert undecided.told["verdict"]["more_rows"] > 0
    assert undecided.told["release"] is None


def test_where_a_person_must_say_yes_the_run_ends_and_nothing_answers(
    waiting: Told, seen_waiting: dict[str, Any]
) -> None:
    assert (waiting.status, waiting.told["verdict"]["decision"]) == (0, "promote")
    assert waiting.told["awaiting_approval"]
    assert waiting.told["release"] is None
    assert seen_waiting["awaiting_approval"] == waiting.told["run_key"]
    assert seen_waiting["active"] is None, "the next run need not wait for the person"
    assert seen_waiting["release"] is None


def test_the_persons_yes_lets_that_candidate_answer(waiting: Told, approved: Told) -> None:
    assert approved.status == 0
    assert (approved.told["generation"], approved.told["model_version"]) == (1, waiting.told["model_version"])
    assert approved.told["approved_by"] == getpass.getuser()
    assert mlflow.alias(approved.where, SLUG) == waiting.told["model_version"]
    run = runs.get(engine.ready(approved.where.database_url), waiting.told["run_key"])
    assert run is not None
    assert (run.status, run.generation) == (RunStatus.FINISHED, 1)


def test_a_dry_run_prints_the_plan_of_the_run_and_does_nothing(waiting: Told, approved: Told) -> None:
    ledger = engine.ready(waiting.where.database_url)
    before = runs.history(ledger, SLUG)
    status, plan = evertune(waiting.where, "run", SLUG, "--dry-run", "--force")
    claimed = steps.result(ledger, waiting.told["run_key"], Step.CLAIM)
    assert claimed is not None
    assert status == 0
    assert (plan["plan_hash"], plan["pins"]) == (claimed["plan_hash"], claimed["pins"])
    assert plan["project"]["gate"]["approval"] == "person"
    assert runs.history(ledger, SLUG) == before
    assert evertune(waiting.where, "run", SLUG, "--dry-run", "--method", "lora")[1]["plan_hash"] != plan["plan_hash"]


@pytest.mark.parametrize(("moved_to", "said"), [(1, "pointed to version 1"), (None, "was missing")])
def test_status_mends_an_alias_that_was_moved_by_hand_or_left_behind(
    approved: Told, moved_to: int | None, said: str
) -> None:
    store, where = connect(approved.where), approved.where
    if moved_to is None:
        store.delete_alias(SLUG, CHAMPION)
    else:
        store.set_alias(SLUG, CHAMPION, moved_to)
    found = _status(where)
    assert said in found["mended"]
    assert mlflow.alias(where, SLUG) == found["release"]["model_version"]
    assert _status(where)["mended"] is None


def test_a_person_may_let_any_version_answer_and_go_back(approved: Told, undecided: Told) -> None:
    where = approved.where
    status, second = evertune(where, "release", "promote", SLUG, "--model-version", "2")
    assert (status, second["generation"], second["model_version"]) == (0, 2, 2)
    assert (second["run_key"], second["kind"]) == (undecided.told["run_key"], "promote")
    assert mlflow.alias(where, SLUG) == 2
    status, told = evertune(where, "release", "rollback", SLUG, "--to", "7")
    assert status == 1
    assert told["error"]["message"].startswith(f"{SLUG} has no generation 7 to go back to")
    status, third = evertune(where, "release", "promote", SLUG, "--model-version", "1")
    assert (status, third["generation"]) == (0, 3)
    status, back = evertune(where, "release", "rollback", SLUG, "--to", "1")
    assert (status, back["generation"], back["kind"]) == (0, 4, "rollback")
    assert back["model_version"] == approved.told["model_version"]
    assert mlflow.alias(where, SLUG) == back["model_version"]
    found = releases.history(engine.ready(where.database_url), SLUG)
    assert [(one.generation, one.model_version) for one in reversed(found)] == [(1, 3), (2, 2), (3, 1), (4, 3)]


def test_a_version_whose_files_were_deleted_is_not_released(approved: Told) -> None:
    where = approved.where
    before = _status(where)["release"]
    bundle = mlflow.version_folder(where, SLUG, 2) / model_folder.BUNDLE
    bundle.rename(aside := bundle.with_name("aside"))
    try:
        status, told = evertune(where, "release", "promote", SLUG, "--model-version", "2")
    finally:
        aside.rename(bundle)
    assert status == 1
    assert told["error"]["message"].startswith(f"Version 2 of {SLUG} cannot answer: {bundle} is gone")
    assert _status(where)["release"] == before


def test_a_yes_to_nothing_is_refused_and_says_what_to_do(approved: Told) -> None:
    status, told = evertune(approved.where, "release", "promote", SLUG)
    assert status == 1
    assert f"evertune release promote {SLUG} --model-version N" in told["error"]["message"]


def test_every_link_of_the_data_docs_leads_to_what_was_logged_beside_them(rejected: Told) -> None:
    page = next(rejected.where.home.glob(f"mlflow/artifacts/{SLUG}/*/artifacts/data_docs/summary.html"))
    links = [unquote(link) for link in re.findall(r'href="([^"]*)"', page.read_text())]
    assert len(links) > 1
    assert [link for link in links if not (page.parent / link).is_file()] == []
