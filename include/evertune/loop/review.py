"""What people should label next: the newest unlabelled answers of the release that answers, drawn by their use."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray

from evertune.records import EvertuneError
from evertune.serving.labelling import Drawn

if TYPE_CHECKING:
    from evertune.monitoring.review import Candidates
    from evertune.serving.log.recent import Recent

POOL = 2_000
"""Answers that are drawn from."""
QUEUE = 200
"""Answers that are drawn, about. Fixed: were it the asker's to choose, so would be each answer's chance."""
SEED = 1
_FRESH_S = 30.0
_REST = 20
"""Times as long as it took, a draw holds at least: it must not take the machine from those who want answers."""
log = structlog.get_logger(__name__)


class Answering(NamedTuple):
    """The release whose answers are looked at."""

    generation: int
    labels: tuple[str, ...]


class Draw(NamedTuple):
    """What was drawn, and the ids of what it was drawn from."""

    rows: list[Drawn]
    pool: frozenset[str]


@dataclass
class _Known:
    generation: int
    until: float
    """When to draw anew, by the monotonic clock."""
    drawn: Draw
    labelled: set[str] = field(default_factory=set)
    told: dict[str, float] = field(default_factory=dict)
    """Id → the highest chance that any draw of this release gave it: with it, it could have been shown by now. Of what
    is still in the pool: nothing else is drawn again."""


_NOTHING = Draw([], frozenset())


class Review:
    """The draws of all projects of a home. Safe in threads. A draw takes about 0.2 s and holds for half a minute."""

    def __init__(
        self, home: Path, answering: Callable[[str], Answering | None], clock: Callable[[], float] = time.monotonic
    ) -> None:
        """``answering``: which release of a project answers; ``None``: none yet."""
        self._home, self._answering, self._clock = home, answering, clock
        self._draws: dict[str, _Known] = {}
        self._during: dict[str, set[str]] = {}
        """What is labelled while a draw is made. It may not be on the disk of that draw's reading."""
        self._lock = threading.Lock()
        self._noting = threading.Lock()

    def draw(self, project: str) -> list[Drawn]:
        """The answers to label, in no order that says anything of them."""
        release = self._answering(project)
        if release is None:
            return []
        with self._lock:
            known = self._draws.get(project)
            if known is None or known.generation != release.generation:
                known = _Known(release.generation, -math.inf, _NOTHING)
            if self._clock() >= known.until:
                known = self._anew(project, release, known)
            return [row for row in known.drawn.rows if row.id not in known.labelled]

    def _anew(self, project: str, release: Answering, before: _Known) -> _Known:
        began = self._clock()
        with self._noting:
            self._during[project] = set()
        found = drawn(self._home, project, release)
        rows = [row._replace(probability=max(row.probability, before.told.get(row.id, 0.0))) for row in found.rows]
        told = {id_: chance for id_, chance in before.told.items() if id_ in found.pool}
        told |= {row.id: row.probability for row in rows}
        now = self._clock()
        until = now + max(_FRESH_S, _REST * (now - began))
        with self._noting:
            labelled = (before.labelled | self._during.pop(project)) & found.pool
            known = self._draws[project] = _Known(release.generation, until, Draw(rows, found.pool), labelled, told)
        return known

    def labelled(self, project: str, ids: set[str]) -> None:
        """These have a label now."""
        with self._noting:
            if (known := self._draws.get(project)) is not None:
                known.labelled |= ids & known.drawn.pool  # nobody may draw any more, and labels come in for years
            if (during := self._during.get(project)) is not None:
                during |= ids


def drawn(home: Path, project: str, release: Answering) -> Draw:
    """Draw anew."""
    from evertune.monitoring import review
    from evertune.serving.log.recent import recent

    pool = recent(home / "traffic", project, release.generation, POOL)
    candidates = _unlabelled(home, project, pool, release)
    names = release.labels if candidates.scores.shape[1] == len(release.labels) else ()
    places = {id_: place for place, id_ in enumerate(candidates.ids)}
    rows = [
        Drawn(
            one.id,
            candidates.texts[places[one.id]],
            dict(zip(names, candidates.scores[places[one.id]].round(6).tolist(), strict=False)),
            one.probability,
            one.why,
        )
        for one in review.pick(candidates, QUEUE, SEED)
    ]
    return Draw(rows, frozenset(pool.ids))


def _unlabelled(home: Path, project: str, pool: Recent, release: Answering) -> Candidates:
    """The pool without what has a label, and without what says the very same: it is represented already."""
    from evertune.monitoring.review import Candidates
    from evertune.serving.log.labels import labelled_ids

    done = labelled_ids(home / "traffic", project, set(pool.ids), release.labels)
    said = {text for id_, text in zip(pool.ids, pool.texts, strict=True) if id_ in done}
    kept = [place for place, text in enumerate(pool.texts) if text not in said]
    embeddings = pool.embeddings[kept]
    return Candidates(
        [pool.ids[place] for place in kept],
        [pool.texts[place] for place in kept],
        pool.scores[kept],
        embeddings,
        _novelty(home / "monitoring" / project / str(release.generation), embeddings),
    )


def _novelty(folder: Path, embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """How far out each is; 0 where the release's reference is not there (yet): the draw goes on without."""
    from evertune.monitoring.reference import Reference

    if folder.is_dir() and len(embeddings):
        try:
            return Reference.read(folder).novelty(embeddings)
        except (EvertuneError, OSError, ValueError, KeyError) as fault:
            log.warning("review.reference_unread", folder=str(folder), reason=str(fault))
    return np.zeros(len(embeddings))
