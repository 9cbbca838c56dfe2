"""Answers as arrays: what the statistics of this room read, whether they come from a data set or from traffic."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from evertune.records import UnfitError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
UNLABELLED = -1


@dataclass(frozen=True, eq=False)
class Sample:
    """Answers to some texts, a row an answer. May be empty."""

    embeddings: NDArray[np.float32]
    """``[n, width]``, as the engine gives them. A row that is not all numbers counts as not embedded."""
    scores: Floats
    """``[n, classes]``: calibrated probabilities."""
    texts: Sequence[str]
    """Redacted and normalised."""
    labels: tuple[str, ...]
    """Names of the classes."""
    truth: Ints
    """``[n]``: index in ``labels``; −1 where nobody has labelled the row, or with a label that the model has not."""
    weights: Floats
    """``[n]``: 1 / the chance with which the row was picked for labelling; 1 where it was not picked."""
    ids: Sequence[str] = field(default=())
    """What tells the rows apart (prediction ids, row ids); empty where nothing does."""

    def __post_init__(self) -> None:
        rows, classes = len(self.texts), len(self.labels)
        shapes = (self.embeddings.shape[:1], self.scores.shape, self.truth.shape, self.weights.shape)
        if shapes != ((rows,), (rows, classes), (rows,), (rows,)) or self.embeddings.ndim != 2:
            raise UnfitError(
                f"These are no answers to {rows} texts with {classes} labels: embeddings {self.embeddings.shape}, "
                f"scores {self.scores.shape}, truth {self.truth.shape}, weights {self.weights.shape}."
            )
        if len(self.ids) not in (0, rows):
            raise UnfitError(f"{len(self.ids)} ids for {rows} texts: give one for each, or none.")

    @classmethod
    def empty(cls, width: int, labels: tuple[str, ...]) -> Sample:
        """No rows."""
        return cls(
            embeddings=np.zeros((0, width), np.float32), scores=np.zeros((0, len(labels))), texts=(), labels=labels,
            truth=np.zeros(0, np.int64), weights=np.zeros(0),
        )  # fmt: skip

    def __len__(self) -> int:
        return len(self.texts)

    @property
    def predicted(self) -> Ints:
        """``[n]``: index of the answered label."""
        return np.asarray(self.scores.argmax(axis=1), np.int64) if len(self) else np.zeros(0, np.int64)

    @property
    def confidence(self) -> Floats:
        """``[n]``: probability of the answered label."""
        return np.asarray(self.scores.max(axis=1)) if len(self) else np.zeros(0)

    @property
    def labelled(self) -> Sample:
        """The rows that have a true label."""
        return self.take(np.flatnonzero(self.truth >= 0))

    @property
    def distinct(self) -> Sample:
        """The first row of each text."""
        first = {text: place for place, text in reversed(list(enumerate(self.texts)))}
        return self if len(first) == len(self) else self.take(np.array(sorted(first.values()), np.int64))

    def take(self, index: Ints) -> Sample:
        """The rows of these numbers, in their order."""
        return replace(
            self,
            embeddings=self.embeddings[index],
            scores=self.scores[index],
            texts=[self.texts[place] for place in index],
            truth=self.truth[index],
            weights=self.weights[index],
            ids=[self.ids[place] for place in index] if self.ids else (),
        )

    @classmethod
    def concat(cls, parts: Iterable[Sample]) -> Sample:
        """All rows of at least one sample. Ids are kept where every part that has rows has them."""
        given = list(parts)
        first = given[0]
        if any(part.labels != first.labels for part in given):
            raise UnfitError("Answers with different labels cannot be put together: they are of different releases.")
        named = all(part.ids for part in given if len(part))
        return cls(
            embeddings=np.concatenate([part.embeddings for part in given]),
            scores=np.concatenate([part.scores for part in given]),
            texts=[text for part in given for text in part.texts],
            labels=first.labels,
            truth=np.concatenate([part.truth for part in given]),
            weights=np.concatenate([part.weights for part in given]),
            ids=[name for part in given for name in part.ids] if named else (),
        )
