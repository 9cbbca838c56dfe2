"""Model versions: each candidate becomes one, whether it is promoted or not, and is found by its run key and digest.

The registered model has the project's slug. A version's files are the bundle, which is what evertune trusts, by its
digest, and around it what MLflow wants to show and serve it.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from evertune import files
from evertune.project import Project
from evertune.records import Evaluation, EvertuneError, Record, Verdict
from evertune.releases.mlflow import artifacts, model_folder
from evertune.releases.mlflow.store import CHECKS, DIGEST, RUN_KEY, MissingError, Store, Version, connect
from evertune.releases.mlflow.tracking import experiment_of
from evertune.settings import Settings

_DESCRIPTION_CHARACTERS = 5000


class RegisteredVersion(Record):
    """A model version, as the registry describes it."""

    version: int
    run_key: str
    digest: str
    verdict: str | None
    """What the gate decided; ``None`` until it has."""
    description: str
    """The decision and its reasons, for people."""
    tags: dict[str, str]


def register(  # noqa: PLR0917 - what a version is made of
    settings: Settings,
    project: Project,
    run_key: str,
    run_id: str,
    bundle: Path,
    card: str,
    evaluation: Evaluation,
    tags: Mapping[str, str],
    *,
    examples: Sequence[str] = (),
    checks: Path | None = None,
) -> int:
    """The number of the version that holds this bundle of this run: the one that is there, else a new one.

    ``tags`` are stored as ``evertune.<key>``; ``examples`` are a few texts, redacted, that become the input example;
    ``checks`` is the file of check rows (see :mod:`evertune.evaluation.checks`) that :func:`fetch_checks` gives back.
    A kill between writing the files and registering them leaves a logged model without a version, which is taken up.
    """
    digest = files.verify(bundle)
    store = connect(settings)
    identity = {RUN_KEY: run_key, DIGEST: digest}
    found = store.find_version(project.slug, identity)
    if found is None:
        scores = {f"evertune.{name}": f"{getattr(evaluation.challenger, name):.4f}" for name in ("accuracy", "f1")}
        if evaluation.recent is not None:
            scores["evertune.recent_f1"] = f"{evaluation.recent.challenger.f1:.4f}"
        hashed = {CHECKS: files.sha256(checks)} if checks else {}
        all_tags = {**{f"evertune.{key}": value for key, value in tags.items()}, **scores, **hashed, **identity}
        made_of = _Parts(bundle, run_id, card, examples, checks)
        model_id = _logged_model(settings, store, project.slug, identity, made_of)
        found = store.create_version(project.slug, model_id, run_id, all_tags)
    return found.number


class _Parts(NamedTuple):
    """What a logged model is made of."""

    bundle: Path
    run_id: str
    card: str
    examples: Sequence[str]
    checks: Path | None


def _logged_model(settings: Settings, store: Store, slug: str, identity: Mapping[str, str], parts: _Parts) -> str:
    experiment = experiment_of(store, settings, slug)
    model = store.find_model(experiment, identity) or store.create_model(experiment, slug, parts.run_id, identity)
    if not model.ready:
        artifacts.upload(settings, parts.bundle, f"{model.artifacts}/{model_folder.BUNDLE}")
        with tempfile.TemporaryDirectory() as around:
            if parts.checks is not None:
                (Path(around) / model_folder.CHECKS).mkdir()
                shutil.copyfile(parts.checks, Path(around) / model_folder.CHECKS / model_folder.CHECK_ROWS)
            model_folder.write(Path(around), model.id, parts.run_id, parts.card, parts.examples)
            artifacts.upload(settings, Path(around), model.artifacts)
        store.finish_model(model.id)
    return model.id


def describe(settings: Settings, slug: str, version: int) -> RegisteredVersion:
    """What the registry knows of the version. Raises :class:`EvertuneError` where it is none of evertune's."""
    found = _version(connect(settings), slug, version)
    tags = found.tags
    if RUN_KEY not in tags or DIGEST not in tags:
        raise EvertuneError(f"Version {version} of {slug} in MLflow was not registered by evertune: it has no digest.")
    return RegisteredVersion(
        version=version,
        run_key=tags[RUN_KEY],
        digest=tags[DIGEST],
        verdict=tags.get("evertune.verdict"),
        description=found.description,
        tags=tags,
    )


def set_verdict(settings: Settings, slug: str, version: int, verdict: Verdict) -> None:
    """Write to the version what the gate decided, and why: a rejected candidate keeps its reasons."""
    said = "\n".join((f"{verdict.decision.value}:", *verdict.reasons))[:_DESCRIPTION_CHARACTERS]
    connect(settings).tag_version(slug, version, {"evertune.verdict": verdict.decision.value}, said)


def fetch(settings: Settings, slug: str, version: int, digest: str, to: Path) -> Path:
    """The version's bundle at ``to``, verified against ``digest``; nothing is fetched where it is there already.

    Raises :class:`CorruptError` where the artefact is not that bundle, and then leaves nothing at ``to``.
    """
    if to.exists():
        try:
            files.verify(to, digest)
        except files.CorruptError:
            pass  # the local copy is damaged: take a new one
        else:
            return to
    store = connect(settings)
    root = files_of(store, _version(store, slug, version))
    with files.new_folder(to) as aside:
        artifacts.download(settings, f"{root}/{model_folder.BUNDLE}", aside)
        files.verify(aside, digest)
    return to


def fetch_checks(settings: Settings, slug: str, version: int, to: Path) -> Path | None:
    """The version's check rows as the file ``to``; ``None`` where it was registered without.

    Raises :class:`CorruptError` where the artefact is not the file that was registered, and then leaves nothing.
    """
    store = connect(settings)
    found = _version(store, slug, version)
    expected = found.tags.get(CHECKS)
    if expected is None:
        return None
    if to.is_file() and files.sha256(to) == expected:
        return to
    with tempfile.TemporaryDirectory() as aside:
        artifacts.download(settings, f"{files_of(store, found)}/{model_folder.CHECKS}", Path(aside))
        rows = Path(aside) / model_folder.CHECK_ROWS
        if rows.is_symlink() or not rows.is_file() or files.sha256(rows) != expected:
            raise files.CorruptError(
                f"The check rows of version {version} of {slug} in MLflow are not those that were registered. "
                "Do not use them."
            )
        files.write_bytes(to, rows.read_bytes())
    return to


def fetch_card(settings: Settings, slug: str, version: int) -> str:
    """The version's model card, in Markdown."""
    store = connect(settings)
    with tempfile.TemporaryDirectory() as aside:
        artifacts.download(
            settings, f"{files_of(store, _version(store, slug, version))}/{model_folder.CARD}", Path(aside)
        )
        return (Path(aside) / model_folder.CARD).read_text("utf-8")


def version_folder(settings: Settings, slug: str, version: int) -> Path:
    """The folder of the version's files, where MLflow keeps them on this machine.

    Raises :class:`MissingError` where it keeps them elsewhere.
    """
    store = connect(settings)
    address = files_of(store, _version(store, slug, version))
    folder = artifacts.local(address)
    if folder is None or not folder.is_dir():
        raise MissingError(f"The files of version {version} of {slug} are at {address}, not on this machine.")
    return folder


def files_of(store: Store, version: Version) -> str:
    """URI of the folder of the version's files."""
    return store.model(version.model_id).artifacts if version.model_id else version.source


def _version(store: Store, slug: str, version: int) -> Version:
    try:
        return store.version(slug, version)
    except MissingError as fault:
        raise EvertuneError(
            f"MLflow has no version {version} of {slug}. Its web UI lists those that there are, under Models."
        ) from fault
