"""The alias ``champion``: what MLflow says of which version answers. The ledger knows; this follows it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Engine

from evertune.ledger import releases, runs
from evertune.records import EvertuneError, Release
from evertune.releases.mlflow.store import CHAMPION, DIGEST, RUN_KEY, MissingError, Store, connect, is_server
from evertune.settings import Settings

_TIMEOUT_S = 10.0
_ROUNDS = 5
"""Releases that may be committed while the alias is set right; one is rare already."""


def alias(settings: Settings, slug: str) -> int | None:
    """The version that MLflow's alias points to; ``None`` where there is none."""
    if is_server(settings):
        return connect(settings, _TIMEOUT_S).find_alias(slug, CHAMPION)
    return _read_alias(settings, slug)


def reconcile(settings: Settings, slug: str, ledger: Engine) -> str | None:
    """Let the alias say what the ledger says; returns what was mended, in words, or ``None``.

    MLflow's alias is last-writer-wins and anybody may move it, and a crash after a promotion leaves it behind. A
    promotion may also commit while this looks, and would find its alias taken back: so the ledger is read after the
    alias each time, and again after the alias was moved, until both agree. Raises :class:`EvertuneError` where the
    released version is not in MLflow any more, or is another model, or where the alias is another ledger's.
    """
    before = found = alias(settings, slug)
    for _ in range(_ROUNDS):
        release = releases.current(ledger, slug)
        wanted = release.model_version if release else None
        if found == wanted:
            return None if found == before else _mended(slug, before, release)
        store = connect(settings)
        if found is not None:
            _check_ours(store, slug, found, ledger, release)
        if release is None:
            store.delete_alias(slug, CHAMPION)
        else:
            _check_released(store, slug, release)
            store.set_alias(slug, CHAMPION, release.model_version)
        found = wanted
    raise EvertuneError(
        f"The releases of {slug} changed {_ROUNDS} times while MLflow's alias {CHAMPION} was set right. Look again: "
        f"evertune status {slug}."
    )


def _mended(slug: str, before: int | None, release: Release | None) -> str:
    was = f"pointed to version {before}" if before is not None else "was missing"
    if release is None:
        return f"MLflow's alias {CHAMPION} of {slug} {was} although nothing is released. It is removed."
    return (
        f"MLflow's alias {CHAMPION} of {slug} {was}. It points to version {release.model_version} now, as generation "
        f"{release.generation} says."
    )


def _check_ours(store: Store, slug: str, found: int, ledger: Engine, release: Release | None) -> None:
    """Refuse to take the alias from a version that a run of another ledger made.

    Generations never fall, so that no crash leads there; a wrong EVERTUNE_DATABASE_URL does, and then the alias is
    right and this ledger is not. A version that no run made was put there by hand: it goes where a release is known.
    One that is there no more is nobody's.
    """
    try:
        made_by = store.version(slug, found).tags.get(RUN_KEY)
    except MissingError:
        return
    run = runs.get(ledger, made_by) if made_by else None
    if (run is not None and run.project == slug) or (made_by is None and release is not None):
        return
    known = f"whose newest release is generation {release.generation}," if release else "which knows no release of it,"
    whose = f"run {made_by}" if made_by else "no run of evertune's"
    raise EvertuneError(
        f"MLflow's alias {CHAMPION} of {slug} points to version {found}, made by {whose}. This ledger, {known} knows "
        "nothing of that version, so the alias is left as it is. Check EVERTUNE_DATABASE_URL: is this the ledger that "
        "belongs to this MLflow? Where it is, remove the alias in MLflow and call `evertune status` again."
    )


def _check_released(store: Store, slug: str, release: Release) -> None:
    try:
        version = store.version(slug, release.model_version)
    except MissingError as fault:
        raise EvertuneError(
            f"Version {release.model_version} of {slug}, which is generation {release.generation}, is not in MLflow "
            f"any more. Restore it there, or promote another: evertune release promote {slug} --model-version N."
        ) from fault
    if version.tags.get(DIGEST) != release.digest:
        raise EvertuneError(
            f"Version {release.model_version} of {slug} in MLflow is not the model that generation "
            f"{release.generation} released: its digest differs. Promote another: evertune release promote {slug} "
            "--model-version N."
        )


def _read_alias(settings: Settings, slug: str) -> int | None:
    """Read the alias from MLflow's database.

    Importing ``mlflow`` for this one number costs ``evertune status`` 5 s. This only reads, and where the table is not
    as expected, MLflow's library is asked after all.
    """
    import sqlalchemy

    uri = sqlalchemy.make_url(settings.mlflow_uri)
    if uri.drivername.startswith("sqlite") and not (uri.database and Path(uri.database).exists()):
        return None  # opening it would create it
    query = sqlalchemy.text("SELECT version FROM registered_model_aliases WHERE name = :name AND alias = :alias")
    engine = sqlalchemy.create_engine(uri)
    try:
        with engine.connect() as connection:
            row = connection.execute(query, {"name": slug, "alias": CHAMPION}).fetchall()
    except sqlalchemy.exc.SQLAlchemyError:
        return connect(settings).find_alias(slug, CHAMPION)
    finally:
        engine.dispose()
    return int(row[0][0]) if row else None
