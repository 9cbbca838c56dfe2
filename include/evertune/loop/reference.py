"""What a release knows: the answers that its traffic is compared with, given by the very engine that serves.

Release 1 knows its validation split. One that came of an alert knows the traffic that raised it, as it is mixed there,
answered anew: so an answered alert does not fire again. Of that traffic, those labelled answers tell its F1 that were
judged on and never trained on. A release that came of no alert knows what the one before it knew. Copies count once,
as in the windows that are compared with it (`copies.py`).

Kept sealed at ``<home>/monitoring/<project>/<generation>``, and made again where it is gone.
"""

from __future__ import annotations

import contextlib
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import structlog
from sqlalchemy import Engine

from evertune import files
from evertune.data import versions
from evertune.ledger import alerts, releases, runs, steps, windows
from evertune.loop import copies, traffic
from evertune.loop.followed import served_here
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import UNLABELLED, Sample
from evertune.project import Project
from evertune.records import Dataset, EvertuneError, Pins, Release, Step, Window
from evertune.settings import Settings

if TYPE_CHECKING:
    from evertune.serving.engine.served import Served

MOST = 5_000
"""Rows that are answered: some seconds, and more than a window has."""
log = structlog.get_logger(__name__)
Serve = Callable[[Settings, Release], "Served"]


def folder_of(settings: Settings, slug: str, generation: int) -> Path:
    """Where the reference of a generation is kept."""
    return settings.home / "monitoring" / slug / str(generation)


def kept(settings: Settings, slug: str, generation: int) -> Reference | None:
    """The reference, where it is there and whole."""
    folder = folder_of(settings, slug, generation)
    try:
        return Reference.read(folder)
    except (EvertuneError, OSError, ValueError, KeyError) as fault:
        if folder.exists():
            log.warning("reference.unread", folder=str(folder), reason=str(fault))
        return None


def reference(
    engine: Engine, project: Project, settings: Settings, release: Release, serve: Serve = served_here
) -> Reference:
    """The release's reference, made where it is not there. Raises :class:`EvertuneError` where it cannot be."""
    folder = folder_of(settings, project.slug, release.generation)
    with files.lock(folder.parent / ".lock", wait=True):
        found = kept(settings, project.slug, release.generation)
        if found is None:
            found = _made(engine, project, settings, release, serve)
            shutil.rmtree(folder, ignore_errors=True)
            found.write(folder)
        return found


def _made(engine: Engine, project: Project, settings: Settings, release: Release, serve: Serve) -> Reference:
    served = serve(settings, release)
    near = copies.threshold(engine, project, release.generation)
    with _dataset(engine, project, settings, release) as folder:
        truth = _judged(folder, served.labels)
        if (drifted := _windows(engine, project.slug, release.run_key)) and (
            texts := _texts(engine, settings, drifted, truth, near)
        ):
            return Reference.of(_answered(served, texts))
        return Reference.of(copies.without_copies(_validation(served, folder), near))


def learned(engine: Engine, slug: str, release: Release) -> tuple[Dataset, Pins]:
    """The data set that the release has learned, and its run's pins. Raises :class:`EvertuneError` where not known."""
    prepared, claimed = (steps.result(engine, release.run_key, step) for step in (Step.PREPARE, Step.CLAIM))
    if prepared is None or claimed is None:
        raise EvertuneError(
            f"The reference of release {release.generation} of {slug} cannot be made: the ledger has no data "
            f"set of its run {release.run_key}. Train a release here, or set EVERTUNE_DATABASE_URL to the ledger of "
            "the installation that trained it."
        )
    return Dataset.model_validate(prepared), Pins.model_validate(claimed["pins"])


@contextlib.contextmanager
def _dataset(engine: Engine, project: Project, settings: Settings, release: Release) -> Iterator[Path]:
    """The data set of the release's run, from its workspace or, where that is gone, from DVC's remote."""
    dataset, pins = learned(engine, project.slug, release)
    there = settings.runs / release.run_key / "data" / project.slug / "dataset"
    try:
        files.verify(there, dataset.version)
    except (EvertuneError, OSError):
        log.info("reference.checkout", run=release.run_key)
    else:
        yield there
        return
    settings.cache.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=settings.cache, prefix="reference.") as aside:
        was = _with_sources(project, pins)
        yield versions.checkout(settings, dataset.lock, was, pins, Path(aside) / "data")


def _with_sources(project: Project, pins: Pins) -> Project:
    """The project without sources that came into its file after the run."""
    known = tuple(source for source in project.data.sources if source.uri in pins.sources)
    return project.model_copy(update={"data": project.data.model_copy(update={"sources": known})})


def _windows(engine: Engine, slug: str, run_key: str) -> list[Window]:
    """The windows that raised the alert which the run answered; else those of what answered when it was trained."""
    made_by = {release.generation: release.run_key for release in releases.history(engine, slug)}
    seen: set[str] = set()
    while run_key not in seen:
        seen.add(run_key)
        for alert in reversed(alerts.absorbed(engine, slug, run_key)):
            return [
                window
                for window in windows.history(engine, slug, None)
                if window.generation == alert.generation and window.number >= alert.window
            ]
        run = runs.get(engine, run_key)
        run_key = made_by.get(run.champion, run_key) if run else run_key
    return []


class _Text(NamedTuple):
    id: str
    text: str
    truth: int = UNLABELLED


def _texts(
    engine: Engine, settings: Settings, drifted: Sequence[Window], truth: dict[str, int], near: float | None
) -> list[_Text]:
    """The newest texts of these windows, without the copies in each, as windows are tested.

    In the first of several windows the drift only began: it is no picture of it. Of copies one that was judged stays.
    """
    first, later = drifted[0], drifted[1:]
    chosen = later if sum(one.rows for one in later) >= first.rows else drifted
    texts: list[_Text] = []
    for window in sorted(chosen, key=lambda one: -one.number):
        ids = traffic.texts(engine, settings, window)
        judged_first = sorted(ids, key=lambda text: text not in truth)
        stay = {judged_first[row] for row in copies.one_of_each(judged_first, near)}
        texts += [_Text(id_, text, truth.get(text, UNLABELLED)) for text, id_ in ids.items() if text in stay]
        if len(texts) >= MOST:
            break
    return texts[:MOST]


def _judged(folder: Path, labels: tuple[str, ...]) -> dict[str, int]:
    """Text → class of the labelled traffic that was judged on, thinned out so that it stands for all of the traffic."""
    import pyarrow.parquet as pq

    path = folder / "recent.parquet"
    if not path.exists():
        return {}
    rows: list[dict[str, Any]] = pq.read_table(path, columns=["row_id", "text", "label", "weight"]).to_pylist()
    heaviest = max((row["weight"] for row in rows), default=1.0)
    index = {label: place for place, label in enumerate(labels)}
    # A summary counts rows alike: each stays with a chance in proportion to its weight, by a hash, so always the same.
    return {
        row["text"]: index.get(row["label"], UNLABELLED)
        for row in rows
        if int(files.hash_of(row["row_id"])[:8], 16) / 2**32 < row["weight"] / heaviest
    }


def _validation(served: Served, folder: Path) -> Sample:
    import pyarrow.parquet as pq

    # Row ids are hashes, so the first of them are a plain sample.
    table = pq.read_table(folder / "validation.parquet", columns=["row_id", "text", "label"]).sort_by("row_id")
    rows: list[dict[str, Any]] = table.slice(0, MOST).to_pylist()
    index = {label: place for place, label in enumerate(served.labels)}
    return _answered(served, [_Text(row["row_id"], row["text"], index.get(row["label"], UNLABELLED)) for row in rows])


def _answered(served: Served, texts: Sequence[_Text]) -> Sample:
    """The release's answers, as they would stand in the log. Ids tell equal texts apart: some of them may be kept."""
    found = served.answer([one.text for one in texts])
    width = len(found[0].embedding) if found else 0
    return Sample(
        embeddings=traffic.embeddings([one.embedding for one in found], width),
        scores=np.array([one.scores for one in found], np.float64).reshape(len(found), len(served.labels)),
        texts=[one.text for one in found],
        labels=served.labels,
        truth=np.array([one.truth for one in texts], np.int64),
        weights=np.ones(len(found)),
        ids=[one.id for one in texts],
    )
