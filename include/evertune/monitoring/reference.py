"""What a release knows: a summary of the answers that traffic is compared with, of bounded size.

Sums, histograms and counts are of all rows; beside them some rows are kept as they are, a uniform sample by the
smallest hashes. All of it can be merged, and the merged summary is to the last bit the summary of all rows, in
whatever order and pieces they came: sums are of whole numbers, and the kept rows do not depend on the order.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from evertune import files
from evertune.monitoring import features
from evertune.monitoring.samples import Floats, Ints, Sample
from evertune.records import UnfitError

KEPT = 2_000
"""Rows that are kept as they are."""
BINS = 512
_LOGITS = np.linspace(-14.0, 14.0, BINS - 1)
_UNIT = 1 << 24
"""Features are summed as whole numbers of 1 / this, so that sums do not depend on the order."""
_ARRAYS = ("sums", "histograms", "confidences", "predicted_counts", "truth_counts", "confusion", "keys")
_NEIGHBOURS = 5
_FORMAT = 4
"""Raised when features, bins, files or what counts as a copy change: other rules' summaries are made again."""


@dataclass(frozen=True, eq=False)
class Reference:
    """The summary. ``embeddings``, ``scores``, ``predicted``, ``truth`` and ``texts`` are of the kept rows."""

    seed: int
    rows: int
    embedded: int
    """Rows whose embedding is all numbers."""
    sums: Ints
    """``[features]``: of the features of all embedded rows, in 1 / 2²⁴."""
    histograms: Ints
    """``[classes, BINS]``: of all rows' probabilities of each class, by :func:`bins`."""
    confidences: Ints
    """``[BINS]``: of all rows' largest probability."""
    predicted_counts: Ints
    """``[classes]``: answers with each label."""
    truth_counts: Ints
    """``[classes]``: labelled rows of each label."""
    confusion: Ints
    """``[classes, classes]``: labelled rows by true and answered label."""
    keys: NDArray[np.uint64]
    """``[kept]``: the hashes by which rows were kept, rising."""
    kept: Sample
    """At most ``KEPT`` rows, each as likely as any other to be among them; in the order of ``keys``."""
    lacks: str = ""
    """What it should have been made of and is gone, in words, for people; empty where nothing is."""

    @property
    def labels(self) -> tuple[str, ...]:
        """Names of the release's classes."""
        return self.kept.labels

    @property
    def embeddings(self) -> NDArray[np.float32]:
        """``[kept, width]``."""
        return self.kept.embeddings

    @property
    def scores(self) -> Floats:
        """``[kept, classes]``."""
        return self.kept.scores

    @property
    def predicted(self) -> Ints:
        """``[kept]``."""
        return self.kept.predicted

    @property
    def truth(self) -> Ints:
        """``[kept]``; −1 where unlabelled."""
        return self.kept.truth

    @property
    def texts(self) -> list[str]:
        """``[kept]``."""
        return list(self.kept.texts)

    @property
    def mean(self) -> Floats:
        """``[features]``: mean features of all embedded rows."""
        return np.asarray(self.sums / (_UNIT * max(self.embedded, 1)))

    @classmethod
    def of(cls, sample: Sample, seed: int = 0, lacks: str = "") -> Reference:
        """The summary of these rows. Give large samples in pieces and merge: then memory stays bounded."""
        classes = len(sample.labels)
        there = features.usable(sample.embeddings)
        rows = np.flatnonzero(sample.truth >= 0)
        predicted, truth = sample.predicted, sample.truth[rows]
        keys = _keys(sample, seed)
        first = np.argsort(keys, kind="stable")[:KEPT]
        return cls(
            seed=seed,
            rows=len(sample),
            embedded=int(there.sum()),
            sums=_sum(sample.embeddings[there], seed),
            histograms=np.stack([np.bincount(column, minlength=BINS) for column in bins(sample.scores).T]),
            confidences=np.bincount(bins(sample.confidence), minlength=BINS),
            predicted_counts=np.bincount(predicted, minlength=classes),
            truth_counts=np.bincount(truth, minlength=classes),
            confusion=np.bincount(truth * classes + predicted[rows], minlength=classes**2).reshape(classes, classes),
            keys=keys[first],
            kept=sample.take(first),
            lacks=lacks,
        )

    def merge(self, other: Reference) -> Reference:
        """The summary of both's rows."""
        if (self.seed, self.labels, len(self.sums)) != (other.seed, other.labels, len(other.sums)):
            raise UnfitError(
                "References of different seeds, labels or widths cannot be merged: make both of one release."
            )
        keys = np.concatenate([self.keys, other.keys])
        first = np.argsort(keys, kind="stable")[:KEPT]
        added = {name: getattr(self, name) + getattr(other, name) for name in (*_ARRAYS[:-1], "rows", "embedded")}
        return replace(self, **added, keys=keys[first], kept=Sample.concat([self.kept, other.kept]).take(first))

    def novelty(self, embeddings: NDArray[np.float32]) -> Floats:
        """``[n]``, 0 to 1: share of the reference's own rows that lie closer to their neighbours than this row does.

        1 for a row that is no numbers, and where the reference has too few rows to tell.
        """
        known, own = self._neighbourhood
        found = np.ones(len(embeddings))
        there = features.usable(embeddings)
        if len(own) and there.any():
            gaps = _gaps(features.unit(embeddings[there]), known, _NEIGHBOURS)
            found[there] = np.searchsorted(own, gaps, side="left") / len(own)
        return found

    @cached_property
    def _neighbourhood(self) -> tuple[NDArray[np.float32], Floats]:
        known = features.unit(self.embeddings[features.usable(self.embeddings)])
        if len(known) <= _NEIGHBOURS:
            return known, np.zeros(0)
        return known, np.sort(_gaps(known, known, _NEIGHBOURS + 1))  # each is its own nearest

    def write(self, folder: Path) -> None:
        """Keep it at ``folder``, whole or not at all."""
        kept = self.kept
        with files.new_folder(folder) as aside:
            arrays: dict[str, Any] = {name: getattr(self, name) for name in _ARRAYS}
            np.savez(
                aside / "reference.npz", **arrays, embeddings=kept.embeddings, scores=kept.scores, truth=kept.truth,
                weights=kept.weights,
            )  # fmt: skip
            facts = {
                "format": _FORMAT,
                "seed": self.seed,
                "rows": self.rows,
                "embedded": self.embedded,
                "labels": list(kept.labels),
                "lacks": self.lacks,
            }
            files.write_json(aside / "reference.json", {**facts, "texts": list(kept.texts), "ids": list(kept.ids)})

    @classmethod
    def read(cls, folder: Path) -> Reference:
        """What :meth:`write` kept. Raises :class:`~evertune.files.CorruptError` where it is gone, torn or changed."""
        if not folder.is_dir():
            raise files.CorruptError(f"The reference {folder} is gone. Make it again from the release's data set.")
        files.verify(folder)
        facts = files.read_json(folder / "reference.json")
        if facts.get("format") != _FORMAT:
            raise files.CorruptError(
                f"The reference {folder} is of another version of evertune. Delete it: it is made again."
            )
        with np.load(folder / "reference.npz", allow_pickle=False) as there:
            kept = Sample(
                there["embeddings"], there["scores"], facts["texts"], tuple(facts["labels"]), there["truth"],
                there["weights"], facts["ids"],
            )  # fmt: skip
            arrays = {name: there[name] for name in _ARRAYS}
        numbers = {name: facts[name] for name in ("seed", "rows", "embedded")}
        return cls(**numbers, **arrays, kept=kept, lacks=facts.get("lacks", ""))  # older ones have no such word


def bins(probabilities: Floats) -> Ints:
    """Number of each probability's bin: fine near 0 and 1, where a classifier's answers are. NaN counts as 0."""
    inside = np.clip(np.nan_to_num(np.asarray(probabilities, np.float64)), 1e-9, 1 - 1e-9)
    return np.asarray(np.searchsorted(_LOGITS, np.log(inside / (1 - inside))), np.int64)


def _sum(embeddings: NDArray[np.float32], seed: int) -> Ints:
    total = np.zeros(features.count(embeddings.shape[1]), np.int64)
    for start in range(0, len(embeddings), 16 * features.BLOCK):
        part = features.of(embeddings[start : start + 16 * features.BLOCK], seed)
        total += np.rint(part.astype(np.float64) * _UNIT).astype(np.int64).sum(axis=0)
    return total


def _keys(sample: Sample, seed: int) -> NDArray[np.uint64]:
    # Of the row's whole content: rows that are equal in everything are interchangeable. An id tells them apart.
    keys = np.empty(len(sample), np.uint64)
    for place, text in enumerate(sample.texts):
        content = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8, key=seed.to_bytes(8, "little"))
        content.update(sample.ids[place].encode() if sample.ids else b"")
        for part in (sample.embeddings[place], sample.scores[place], sample.truth[place], sample.weights[place]):
            content.update(part.tobytes())
        keys[place] = int.from_bytes(content.digest(), "little")
    return keys


def _gaps(rows: NDArray[np.float32], known: NDArray[np.float32], neighbour: int) -> Floats:
    found = np.empty(len(rows))
    for start in range(0, len(rows), 1024):
        gaps = 1 - rows[start : start + 1024] @ known.T
        found[start : start + 1024] = np.partition(gaps, neighbour - 1, axis=1)[:, neighbour - 1]
    return found
