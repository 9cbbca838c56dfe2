"""The alias follows the ledger, whoever moved it and whatever is released meanwhile; another ledger's stays."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest
from sqlalchemy import Engine
from tests.ledgers import template

from evertune import files
from evertune.ledger import engine as engines
from evertune.ledger import releases, runs, triggers
from evertune.project import Project
from evertune.records import Cause, Evaluation, EvertuneError, Release, Run
from evertune.releases import mlflow
from evertune.releases.mlflow import aliases
from evertune.releases.mlflow.store import CHAMPION, DIGEST, RUN_KEY, MissingError, Version, connect
from evertune.releases.promote import promote, rollback
from evertune.settings import Settings, load

__all__ = ["template"]
SLUG = "spam"


@pytest.fixture
def ledger(template: Path, tmp_path: Path) -> Iterator[Engine]:
    """A ledger in which nothing has happened yet."""
    (tmp_path / "ledger.db").write_bytes(template.read_bytes())
    engine = engines.ready(f"sqlite:///{tmp_path}/ledger.db")
    yield engine
    engine.dispose()


def run_of(ledger: Engine, slug: str = SLUG, night: str = "night") -> Run:
    triggers.request(ledger, slug, Cause.CLOCK, night, "night")
    run = runs.claim(ledger, slug, "one", 60)
    assert run is not None
    return run


def released(ledger: Engine, run: Run, version: int, digest: str) -> Release:
    """The next generation, by a person."""
    now = releases.current(ledger, run.project)
    generation = now.generation if now else 0
    return promote(ledger, None, run.project, version, digest, run.key, expected=generation, by="ann")


class Registry:
    """MLflow: versions with their tags, and the alias. Each call that moves the alias is noted."""

    def __init__(self) -> None:
        self.tags: dict[int, dict[str, str]] = {}
        self.alias: int | None = None
        self.moves: list[int | None] = []

    def add(self, version: int, run_key: str, digest: str) -> None:
        self.tags[version] = {RUN_KEY: run_key, DIGEST: digest}

    def find_alias(self, *_: object) -> int | None:
        return self.alias

    def set_alias(self, _: str, __: str, number: int) -> None:
        self.alias = number
        self.moves.append(number)

    def delete_alias(self, *_: object) -> None:
        self.alias = None
        self.moves.append(None)

    def version(self, _: str, number: int) -> Version:
        if number not in self.tags:
            raise MissingError(f"no version {number}")
        tags: Mapping[str, str] = self.tags[number]
        return Version(number, "", dict(tags), "")


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Registry:
    made = Registry()
    monkeypatch.setattr(aliases, "connect", lambda *_: made)
    return made


@pytest.fixture
def where(tmp_path: Path) -> Settings:
    """Settings with an MLflow that is a server, which :class:`Registry` stands for."""
    return load({"EVERTUNE_HOME": str(tmp_path), "EVERTUNE_MLFLOW_URI": "http://127.0.0.1:1"})


def test_an_empty_ledger_takes_no_alias_away(where: Settings, registry: Registry, ledger: Engine) -> None:
    registry.add(1, "spam-20260101T000000-abcdef01", "a")
    registry.alias = 1
    with pytest.raises(EvertuneError, match=r"version 1, made by run spam-2026.*knows no release.*DATABASE_URL"):
        mlflow.reconcile(where, SLUG, ledger)
    registry.tags[1] = {}
    with pytest.raises(EvertuneError, match=r"no run of evertune's.*DATABASE_URL"):
        mlflow.reconcile(where, SLUG, ledger)
    run = run_of(ledger, "another")
    registry.add(1, run.key, "a")
    with pytest.raises(EvertuneError, match="DATABASE_URL"):
        mlflow.reconcile(where, SLUG, ledger)
    assert (registry.alias, registry.moves) == (1, [])


def test_an_alias_on_a_version_that_is_there_no_more_is_removed(
    where: Settings, registry: Registry, ledger: Engine
) -> None:
    registry.alias = 7
    assert "pointed to version 7 although nothing is released" in str(mlflow.reconcile(where, SLUG, ledger))
    assert registry.alias is None


def test_an_alias_on_a_candidate_that_was_never_released_is_removed(
    where: Settings, registry: Registry, ledger: Engine
) -> None:
    registry.add(1, run_of(ledger).key, "a")
    registry.alias = 1
    assert "pointed to version 1 although nothing is released. It is removed." in str(
        mlflow.reconcile(where, SLUG, ledger)
    )
    assert registry.alias is None


def test_two_ledgers_do_not_fight_over_an_alias(where: Settings, registry: Registry, ledger: Engine) -> None:
    run = run_of(ledger)
    released(ledger, run, 1, "a")
    registry.add(1, run.key, "a")
    registry.add(2, "spam-20260101T000000-abcdef01", "b")
    registry.alias = 2
    with pytest.raises(EvertuneError, match=r"version 2, made by run spam-2026.*generation 1, knows nothing"):
        mlflow.reconcile(where, SLUG, ledger)
    assert (registry.alias, registry.moves) == (2, [])
    registry.alias = None
    assert "was missing" in str(mlflow.reconcile(where, SLUG, ledger)), "the way out that the message tells"
    registry.tags[2] = {}
    registry.alias = 2
    assert "pointed to version 2" in str(mlflow.reconcile(where, SLUG, ledger)), "by hand: no ledger's run made it"
    assert registry.alias == 1


def test_a_promotion_meanwhile_keeps_its_alias(
    where: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that commits after the ledger was read, and moves the alias before this does."""
    run = run_of(ledger)
    released(ledger, run, 1, "a")
    for version, digest in ((1, "a"), (2, "b")):
        registry.add(version, run.key, digest)
    look = registry.version

    def meanwhile(slug: str, number: int) -> Version:
        monkeypatch.setattr(registry, "version", look)
        released(ledger, run, 2, "b")
        assert mlflow.reconcile(where, SLUG, ledger) is not None
        assert registry.alias == 2
        return look(slug, number)

    monkeypatch.setattr(registry, "version", meanwhile)
    told = mlflow.reconcile(where, SLUG, ledger)
    assert registry.moves == [2, 1, 2]
    assert told is not None
    assert "was missing. It points to version 2 now, as generation 2 says" in told


def test_a_promotion_that_moved_the_alias_before_the_ledger_was_read_is_not_undone(
    where: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(ledger)
    released(ledger, run, 1, "a")
    for version, digest in ((1, "a"), (2, "b")):
        registry.add(version, run.key, digest)
    registry.alias = 2  # moved by hand, to what a promotion releases the moment after
    current = releases.current

    def then(engine: Engine, slug: str) -> Release | None:
        monkeypatch.setattr(releases, "current", current)
        now = current(engine, slug)
        released(ledger, run, 2, "b")
        return now

    monkeypatch.setattr(releases, "current", then)
    assert mlflow.reconcile(where, SLUG, ledger) is None, "it says what it said before: nothing to tell"
    assert registry.moves == [1, 2]


def test_releases_without_end_are_not_followed_without_end(
    where: Settings, registry: Registry, ledger: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = run_of(ledger)
    for version, digest in ((1, "a"), (2, "b")):
        registry.add(version, run.key, digest)
        released(ledger, run, version, digest)
    move = registry.set_alias

    def moved(slug: str, name: str, number: int) -> None:
        move(slug, name, number)
        rollback(ledger, SLUG, "ann", to=number % 2 + 1)

    monkeypatch.setattr(registry, "set_alias", moved)
    with pytest.raises(EvertuneError, match=r"changed 5 times.*Look again"):
        mlflow.reconcile(where, SLUG, ledger)


@pytest.mark.integration
def test_the_alias_follows_the_ledger(
    either: Settings, project: Project, bundle: Path, evaluation: Evaluation, ledger: Engine
) -> None:
    run = run_of(ledger, project.slug)
    run_id = mlflow.start_run(either, project, run.key, {})
    first = mlflow.register(either, project, run.key, run_id, bundle, "card", evaluation, {})
    second = mlflow.register(either, project, "run-2", run_id, bundle, "card", evaluation, {})
    assert mlflow.alias(either, project.slug) is None
    connect(either).set_alias(project.slug, CHAMPION, first)
    removed = mlflow.reconcile(either, project.slug, ledger)
    assert removed is not None
    assert "removed" in removed
    assert mlflow.alias(either, project.slug) is None
    assert mlflow.reconcile(either, project.slug, ledger) is None
    released(ledger, run, first, files.digest(bundle))
    left_behind = mlflow.reconcile(either, project.slug, ledger)
    assert left_behind is not None
    assert "was missing" in left_behind
    assert mlflow.reconcile(either, project.slug, ledger) is None
    connect(either).set_alias(project.slug, CHAMPION, second)
    with pytest.raises(EvertuneError, match="made by run run-2"):
        mlflow.reconcile(either, project.slug, ledger)
    assert mlflow.alias(either, project.slug) == second
    connect(either).tag_version(project.slug, second, {RUN_KEY: run.key}, "")
    moved = mlflow.reconcile(either, project.slug, ledger)
    assert moved is not None
    assert f"pointed to version {second}" in moved
    assert f"points to version {first} now, as generation 1 says" in moved
    assert mlflow.alias(either, project.slug) == first


@pytest.mark.integration
def test_an_alias_never_goes_to_a_version_that_is_not_the_released_model(
    either: Settings, project: Project, bundle: Path, evaluation: Evaluation, ledger: Engine
) -> None:
    run = run_of(ledger, project.slug)
    run_id = mlflow.start_run(either, project, run.key, {})
    version = mlflow.register(either, project, run.key, run_id, bundle, "card", evaluation, {})
    for wrong, said in ((version + 98, "is not in MLflow"), (version, "digest")):
        released(ledger, run, wrong, "x")
        with pytest.raises(EvertuneError, match=said):
            mlflow.reconcile(either, project.slug, ledger)
        assert mlflow.alias(either, project.slug) is None


def test_a_look_makes_no_database_and_does_not_import_mlflow(tmp_path: Path) -> None:
    where = load({"EVERTUNE_HOME": str(tmp_path)})
    look = (
        "import sys; from evertune import settings; from evertune.ledger import engine; "
        "from evertune.releases import mlflow; where = settings.load(); ledger = engine.ready(where.database_url); "
        "print(mlflow.alias(where, 'x'), mlflow.reconcile(where, 'x', ledger), 'mlflow' in sys.modules)"
    )
    variables = {**os.environ, **where.environment()}
    done = subprocess.run([sys.executable, "-c", look], env=variables, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["None", "None", "False"]
    assert not (tmp_path / "mlflow").exists()
