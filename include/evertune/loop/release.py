"""What a person may do to a project's release: let a version answer, refuse one, or go back to an earlier one.

By its slug alone: while a project file is unfit, a bad model must go nevertheless.
"""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Engine

from evertune.files import CorruptError
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases, runs
from evertune.ledger.columns import printable
from evertune.records import Decision, EvertuneError, Release, StaleError
from evertune.settings import Settings

if TYPE_CHECKING:
    from evertune.releases.mlflow import RegisteredVersion

log = structlog.get_logger(__name__)


def promote_by_hand(
    slug: str,
    settings: Settings,
    *,
    by: str,
    model_version: int | None = None,
    expected: int | None = None,
    reason: str = "",
) -> Release:
    """Let a model version answer from now on.

    Without ``model_version`` it is the one whose run awaits approval. ``expected`` is the generation that the person
    saw; where another answers by now, :class:`StaleError` is raised rather than that one silently replaced. Its files
    are looked at first (:func:`look`): what no server can load must not become the generation that answers.
    """
    from evertune.releases import promote

    engine = ledger_engine.ready(settings.database_url)
    waiting = runs.awaiting(engine, slug)
    if model_version is None:
        if waiting is None:
            raise EvertuneError(
                f"No run of {slug} awaits approval. Say which version: evertune release promote {slug} "
                "--model-version N"
            )
        model_version = _version_of(waiting)
    current = releases.current(engine, slug)  # before the look, which takes its time
    found = look(slug, model_version, None, settings)
    if expected is None:
        is_waiting = waiting is not None and waiting.key == found.run_key
        expected = waiting.champion if waiting and is_waiting else current.generation if current else 0
    release = promote.promote(
        engine, None, slug, model_version, found.digest, found.run_key,
        expected=expected, by=by, reason=reason,
    )  # fmt: skip
    mend_alias(settings, slug, engine)
    return release


def rollback(
    slug: str,
    settings: Settings,
    *,
    by: str,
    to: int | None = None,
    expected: int | None = None,
    reason: str = "",
) -> Release:
    """Let an earlier generation's model answer again, as a new generation; ``to`` is the one before by default.

    ``expected`` is as in :func:`promote_by_hand`; with it, the same rollback again changes nothing more. Without it,
    who goes back twice goes back two models; but two people, one right after the other, mean the same model, so that
    :class:`StaleError` is raised for the second. Its files are looked at first, as in :func:`promote_by_hand`.
    """
    from evertune.releases import promote

    engine = ledger_engine.ready(settings.database_url)
    if expected is None:
        now = releases.current(engine, slug)
        if now and to is None:
            _check_not_gone_back(now, by)
        expected = now.generation if now else 0
    release = promote.repeated(engine, slug, by, to, expected)
    if release is None:
        goal = promote.target(engine, slug, to, expected=expected)
        look(slug, goal.model_version, goal.digest, settings)
        release = promote.rollback(
            engine, slug, by=by, to=goal.generation, expected=expected, reason=reason
        )  # fmt: skip
    mend_alias(settings, slug, engine)
    return release


def _check_not_gone_back(now: Release, by: str) -> None:
    from evertune.releases import promote

    if now.kind == promote.ROLLBACK and now.approved_by != printable(by):
        raise StaleError(
            f"{now.approved_by} has gone back already, at {now.created:%Y-%m-%d %H:%M} UTC. Generation "
            f"{now.generation}, with model version {now.model_version}, answers now, and nothing was changed. To go "
            f"back further: evertune release rollback {now.project} --expected {now.generation}"
        )


def answered_at(slug: str, settings: Settings, when: datetime) -> int:
    """The generation that answered then, 0 where none did: what a person who asked for something then had decided on.

    By the ledger's clock. Where the one that ``when`` was read from is ahead, a release of that moment counts as seen.
    """
    past = releases.history(ledger_engine.ready(settings.database_url), slug)
    return next((release.generation for release in past if release.created <= when), 0)


def refuse(slug: str, settings: Settings, *, by: str, reason: str) -> str:
    """Say no to the model that awaits approval; returns its run's key. What answers now goes on."""
    from evertune.releases import mlflow, promote

    if not reason.strip():
        raise EvertuneError("Say why it is refused: whoever tuned it wants to know.")
    engine = ledger_engine.ready(settings.database_url)
    waiting = runs.awaiting(engine, slug)
    if waiting is None:
        raise EvertuneError(f"No run of {slug} awaits approval: there is nothing to refuse.")
    promote.refuse(engine, waiting.key, by, reason)
    verdict = waiting.outcome.verdict if waiting.outcome else None
    if verdict is not None:
        reasons = (*verdict.reasons, f"Refused by {by}: {reason}")
        told = verdict.model_copy(update={"decision": Decision.REJECT, "reasons": reasons})
        with told_if_mlflow_is_away(slug, "the model version does not say that it was refused"):
            mlflow.set_verdict(settings, slug, _version_of(waiting), told)
    return waiting.key


def mend_alias(settings: Settings, slug: str, ledger: Engine) -> None:
    """Let MLflow's alias follow what the ledger has committed. Where MLflow is away, that is only told.

    The release answers whatever the alias says; raising would call a thing failed that is done.
    """
    from evertune.releases import mlflow

    with told_if_mlflow_is_away(slug, "MLflow's alias is left as it is; `evertune status` looks again"):
        mlflow.reconcile(settings, slug, ledger)


@contextlib.contextmanager
def told_if_mlflow_is_away(slug: str, what: str) -> Iterator[None]:
    """For what MLflow only repeats of the ledger: a fault of it is logged as ``what``, and the caller goes on."""
    try:
        yield
    except EvertuneError as fault:
        log.warning(what, project=slug, fault=str(fault))


def check_signature(slug: str, version: int, digest: str | None, settings: Settings) -> RegisteredVersion:
    """What the registry says of a version whose signature is a trusted one's.

    Raises :class:`CorruptError` where nobody trusted has signed it, or where it is not the bundle of ``digest``.
    """
    from evertune.models import signing
    from evertune.releases import mlflow

    found = mlflow.describe(settings, slug, version)
    if digest is not None and found.digest != digest:
        raise CorruptError(f"Version {version} of {slug} in MLflow is not the model that was released. Do not use it.")
    signing.verify(found.digest, found.tags.get("evertune.signature", ""), settings)
    return found


def look(slug: str, version: int, digest: str | None, settings: Settings) -> RegisteredVersion:
    """:func:`check_signature`, and everything that a server will fetch of the version is there and is what was signed.

    Fetched anew from MLflow and thrown away: a copy that this machine has kept says nothing of what servers will find.
    """
    from evertune.releases import mlflow
    from evertune.releases.mlflow.store import MissingError

    found = check_signature(slug, version, digest, settings)
    settings.cache.mkdir(parents=True, exist_ok=True)
    try:
        with tempfile.TemporaryDirectory(prefix="look-", dir=settings.cache) as aside:
            mlflow.fetch(settings, slug, version, found.digest, Path(aside) / "bundle")
            mlflow.fetch_checks(settings, slug, version, Path(aside) / "checks.parquet")
            mlflow.fetch_card(settings, slug, version)
    except MissingError as fault:
        raise EvertuneError(
            f"Version {version} of {slug} cannot answer: {fault} Nothing was changed. Restore the files, or take "
            f"another version: evertune release list {slug}."
        ) from fault
    return found


def _version_of(waiting: runs.RunEntry) -> int:
    version = waiting.outcome.model_version if waiting.outcome else None
    if version is None:
        raise EvertuneError(f"Run {waiting.key} of {waiting.project} awaits approval but names no model version.")
    return version
