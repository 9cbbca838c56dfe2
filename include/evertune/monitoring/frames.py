"""The tables that Evidently reads: a row an answer, with figures and labels and without texts.

No text goes to Evidently: what it stores and shows are figures of texts. Imported only by :mod:`.report`.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pandas as pd  # noqa: TID253 - imported inside a function only, like Evidently
from evidently import BinaryClassification, DataDefinition, Dataset, MulticlassClassification  # noqa: TID253
from numpy.typing import NDArray

from evertune.monitoring import descriptors
from evertune.monitoring.samples import Sample
from evertune.monitoring.verdicts import PLANE

ROWS = 10_000
"""Answers of a window that are drawn; of more, so many by chance. The verdict rests on all of them."""
PREDICTION, CONFIDENCE, TRUTH, REPEATED = "prediction", "confidence", "truth", "repeated"


class Tables(NamedTuple):
    """What a report compares."""

    traffic: Dataset
    reference: Dataset


def answers(reference: Sample, traffic: Sample, seed: int = 0) -> Tables:
    """Descriptors, answered labels, confidence and embeddings (on their two main directions)."""
    if len(traffic) > ROWS:
        traffic = traffic.take(np.sort(np.random.default_rng(seed).choice(len(traffic), ROWS, replace=False)))
    told = descriptors.described(reference.texts, traffic.texts)
    definition = DataDefinition(
        numerical_columns=[*descriptors.NAMES, CONFIDENCE, REPEATED, *PLANE], categorical_columns=[PREDICTION]
    )
    plane = _plane(reference.embeddings, traffic.embeddings)
    frames = [
        pd.DataFrame(
            {
                **columns,
                CONFIDENCE: sample.confidence,
                REPEATED: _repeated(sample),
                PREDICTION: _names(sample, sample.predicted),
                **dict(zip(PLANE, places.T, strict=True)),
            }
        )
        for sample, columns, places in ((traffic, told.traffic, plane[1]), (reference, told.reference, plane[0]))
    ]
    return Tables(*(Dataset.from_pandas(frame, data_definition=definition) for frame in frames))


def labelled(reference: Sample, traffic: Sample) -> Tables | None:
    """True and answered labels; ``None`` where one side has not labelled rows of two classes, as Evidently asks."""
    sides = [sample.labelled for sample in (traffic, reference)]
    if any(len(np.unique(side.truth)) < 2 for side in sides):
        return None
    frames = [pd.DataFrame({TRUTH: _names(s, s.truth), PREDICTION: _names(s, s.predicted)}) for s in sides]
    seen = sorted({name for frame in frames for column in frame for name in frame[column]})
    # With two labels Evidently looks for one that is called 1 unless it is told which is the positive one.
    task = (
        BinaryClassification(target=TRUTH, prediction_labels=PREDICTION, pos_label=seen[-1])
        if len(seen) == 2
        else MulticlassClassification(target=TRUTH, prediction_labels=PREDICTION)
    )
    definition = DataDefinition(categorical_columns=[TRUTH, PREDICTION], classification=[task])
    return Tables(*(Dataset.from_pandas(frame, data_definition=definition) for frame in frames))


def _names(sample: Sample, places: NDArray[np.int64]) -> list[str]:
    return [sample.labels[place] for place in places]


def _repeated(sample: Sample) -> NDArray[np.float64]:
    """1 for a text that an earlier row has too."""
    first = {text: place for place, text in reversed(list(enumerate(sample.texts)))}
    return np.array([float(first[text] != place) for place, text in enumerate(sample.texts)])


def _plane(*sides: NDArray[np.float32]) -> list[NDArray[np.float64]]:
    """Each side's embeddings on the two main directions of both; NaN where an embedding is no number."""
    rows = np.concatenate([side[np.isfinite(side).all(axis=1)] for side in sides]).astype(np.float64)
    if len(rows) < 2 or rows.shape[1] < 2:
        return [np.full((len(side), 2), np.nan) for side in sides]
    middle = rows.mean(axis=0)
    _, directions = np.linalg.eigh(np.cov((rows - middle).T))
    return [(side.astype(np.float64) - middle) @ directions[:, :-3:-1] for side in sides]
