"""The alias ``champion``: what MLflow says of which version answers. The ledger knows; this follows it."""

from __future__ import annotations

from pathlib import Path

from evertune.records import EvertuneError, Release
from evertune.releases.mlflow.store import CHAMPION, MissingError, connect, is_server
from evertune.settings import Settings

_TIMEOUT_S = 10.0


def alias(settings: Settings, slug: str) -> int | None:
    """The version that MLflow's alias points to; ``None`` where there is none."""
    if is_server(settings):
        return connect(settings, _TIMEOUT_S).find_alias(slug, CHAMPION)
    return _read_alias(settings, slug)


def reconcile(settings: Settings, slug: str, release: Release | None) -> str | None:
    """Let the alias say what the ledger says; returns what was mended, in words, or ``None``.

    MLflow's alias is last-writer-wins and anybody may move it, and a crash after a promotion leaves it behind. Raises
    :class:`EvertuneError` where the released version is not in MLflow any more, or is another model.
    """
    found = alias(settings, slug)
    wanted = release.model_version if release else None
    if found == wanted:
        return None
    store = connect(settings)
    was = f"pointed to version {found}" if found else "was missing"
    if release is None:
        store.delete_alias(slug, CHAMPION)
        return f"MLflow's alias {CHAMPION} of {slug} {was} although nothing is released. It is removed."
    try:
        version = store.version(slug, release.model_version)
    except MissingError as fault:
        raise EvertuneError(
            f"Version {release.model_version} of {slug}, which is generation {release.generation}, is not in MLflow "
            f"any more. Restore it there, or promote another: evertune release promote {slug} --model-version N."
        ) from fault
    if version.tags.get("evertune.digest") != release.digest:
        raise EvertuneError(
            f"Version {release.model_version} of {slug} in MLflow is not the model that generation "
            f"{release.generation} released: its digest differs. Promote another: evertune release promote {slug} "
            "--model-version N."
        )
    store.set_alias(slug, CHAMPION, release.model_version)
    return (
        f"MLflow's alias {CHAMPION} of {slug} {was}. It points to version {release.model_version} now, as generation "
        f"{release.generation} says."
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
