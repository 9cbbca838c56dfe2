"""What a release knows: the answers that its traffic is compared with, given by the very engine that serves.

Release 1 knows its validation split. One that came of an alert knows the traffic that raised it, as it is mixed there,
answered anew: so an answered alert does not fire again. What it was trained on is left out, since it is surer of that
than of what comes; of the labelled answers, those that were judged on tell its F1. A release that came of no alert
knows what the one before it knew. Copies count once, as in the windows that are compared with it (`copies.py`).

Kept sealed at ``<home>/monitoring/<project>/<generation>`` as long as it is needed (`housekeeping.py`), and made again
where it is gone. The traffic log does not keep texts for ever: once it has lost some of that traffic, the texts that
the reference of a release before has kept are answered anew, without those trained on since. Where too few are left,
the reference says what it lacks, and with it each report.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog
from sqlalchemy import Engine

from evertune import files
from evertune.loop import ancestry, copies, learned, traffic
from evertune.loop.followed import served_here
from evertune.loop.learned import Labelled, Text
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import UNLABELLED, Sample
from evertune.project import Project
from evertune.records import EvertuneError, Release, Window
from evertune.settings import Settings

if TYPE_CHECKING:
    from evertune.serving.engine.served import Served

MOST = 5_000
"""Rows that are answered: some seconds, and more than a window has."""
FEW = 0.05
"""Share of the answers that may be missing, whichever they are: what matters of the signals is no less by default."""
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
    with learned.opened(engine, project, settings, release) as folder:
        known = _drifted(engine, project, settings, release, learned.labelled(folder), near)
        if known.lacks:
            log.warning("reference.traffic_gone", project=project.slug, told=known.lacks)
        if known.texts:
            return Reference.of(_answered(served, known.texts), lacks=known.lacks)
        rows = _answered(served, learned.validation(folder, MOST))
        return Reference.of(copies.without_copies(rows, near), lacks=known.lacks)


class _Texts(NamedTuple):
    """Texts of windows."""

    texts: list[Text]
    gone: int
    """Answers that the log no longer has."""
    trained: int
    """Answers that were trained on and left out."""


class _Known(NamedTuple):
    """Traffic that a release knows."""

    texts: list[Text]
    """None: it knows its validation split."""
    lacks: str = ""


def _drifted(  # noqa: PLR0917 - whose, where, and by which rules
    engine: Engine, project: Project, settings: Settings, release: Release, labels: Labelled, near: float | None
) -> _Known:
    """The drifted traffic that the release or one before it came of; as much of it as is left."""
    line, drifted = ancestry.line(engine, release)
    if not drifted:
        return _Known([])
    fewest = project.monitoring.window.fewest_rows  # fewer could show nothing
    texts, gone, trained = _texts(engine, settings, drifted, labels, near)
    texts = _as_mixed(texts, trained, labels, fewest)
    if texts and not gone and (not trained or len(texts) >= fewest):
        return _Known(texts)
    if (earlier := _earlier(engine, settings, release, line)) is not None:
        kept = _as_texts(earlier.kept)
        known = [one for one in kept if one.id not in labels.trained]
        trained = len(kept) - len(known)
        if not trained or len(known) >= fewest:
            return _Known(_as_mixed(known, trained, labels, fewest), earlier.lacks)
    left = texts if len(texts) >= fewest else []
    return _Known(left, _lacks(release, drifted, left, gone))


def _earlier(engine: Engine, settings: Settings, release: Release, line: Sequence[str]) -> Reference | None:
    """The newest reference of a release that knew the same traffic: of the same runs, before this one."""
    for generation in ancestry.generations(engine, release, line):
        if generation < release.generation and (found := kept(settings, release.project, generation)) is not None:
            return found
    return None


def needed(engine: Engine, settings: Settings, release: Release) -> set[int]:
    """The generations whose references tell what the release knows: its own, and the newest that it would be made of.

    For what comes after it too: a release that is trained while it answers knew the same traffic.
    """
    line, _ = ancestry.runs_back_to_an_alert(engine, release)
    known = ancestry.generations(engine, release, line)
    there = [one for one in known if folder_of(settings, release.project, one).is_dir()]
    return {release.generation, *there[:1]}


def _as_texts(sample: Sample) -> list[Text]:
    """The rows with their labels: what one release was judged on none after it is trained on (`data/recent.py`)."""
    rows = zip(sample.ids, sample.texts, sample.truth.tolist(), strict=True)
    return [Text(id_, text, None if truth == UNLABELLED else sample.labels[truth]) for id_, text, truth in rows]


def _lacks(release: Release, drifted: Sequence[Window], left: Sequence[Text], gone: int) -> str:
    first, last, rows = drifted[0].number, drifted[-1].number, sum(one.rows for one in drifted)
    why = "the traffic log no longer has it in full" if gone else "it was trained on what would show that"
    what = (
        f"{len(left)} texts of it stand for all"
        if left
        else "its validation rows stand in, so traffic that it has learned may look new"
    )
    return (
        f"Release {release.generation} should know the traffic of windows {first} to {last} ({rows} answers), but "
        f"{why}, and no earlier reference has kept enough that it was not trained on: {what}."
    )


def _texts(
    engine: Engine, settings: Settings, drifted: Sequence[Window], labels: Labelled, near: float | None
) -> _Texts:
    """The newest texts of these windows, without the copies in each, as windows are tested.

    In the first of several windows the drift only began: it is no picture of it. Of copies one that was judged stays.
    Answers that were trained on are left out, and not their texts: what others have sent again will be sent again.
    """
    first, later = drifted[0], drifted[1:]
    chosen = later if sum(one.rows for one in later) >= first.rows else drifted
    texts: list[Text] = []
    gone = trained = 0
    for window in sorted(chosen, key=lambda one: -one.number):
        found = traffic.texts(engine, settings, window)
        ids: dict[str, str] = {}
        for id_, text in found.answers:
            if id_ in labels.untrained:
                ids[text] = id_
            elif id_ not in labels.trained:
                ids.setdefault(text, id_)
        gone += found.gone
        trained += sum(id_ in labels.trained for id_, _ in found.answers)
        judged_first = sorted(ids, key=lambda text: text not in labels.judged)
        stay = {judged_first[row] for row in copies.one_of_each(judged_first, near)}
        texts += [Text(id_, text, labels.judged.get(text)) for text, id_ in ids.items() if text in stay]
        if len(texts) >= MOST:
            break
    return _Texts(texts[:MOST], gone, trained)


def _as_mixed(texts: list[Text], trained: int, labels: Labelled, fewest: int) -> list[Text]:
    """The texts as traffic mixes them, after so many answers were left out because they were trained on.

    Where people are asked about what the model is unsure of, those are mostly unsure ones, and without them all that
    comes would look less sure. Which labels are trained on is luck: so the unlabelled go in the same proportion.
    """
    if not labels.picked or trained <= FEW * (len(texts) + trained):
        return texts
    untrained = sum(one.id in labels.untrained for one in texts)
    share = untrained / (untrained + trained)
    mixed = [one for one in texts if one.id in labels.untrained or learned.luck(one.id) < share]
    return mixed if len(mixed) >= fewest else texts


def _answered(served: Served, texts: Sequence[Text]) -> Sample:
    """The release's answers, as they would stand in the log. Ids tell equal texts apart: some of them may be kept."""
    found = served.answer([one.text for one in texts])
    width = len(found[0].embedding) if found else 0
    index = {label: place for place, label in enumerate(served.labels)}
    return Sample(
        embeddings=traffic.embeddings([one.embedding for one in found], width),
        scores=np.array([one.scores for one in found], np.float64).reshape(len(found), len(served.labels)),
        texts=[one.text for one in found],
        labels=served.labels,
        truth=np.array(
            [UNLABELLED if one.label is None else index.get(one.label, UNLABELLED) for one in texts], np.int64
        ),
        weights=np.ones(len(found)),
        ids=[one.id for one in texts],
    )
