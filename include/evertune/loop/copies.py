"""Copies in traffic count once, as they do in data sets, or the two could not be compared.

A data set keeps one of each text and one of texts that are near each other. Traffic has templates that differ in a
name or a number; against a data set, which has each of them once at most, they would be a drift from the first window
on. So both sides of each comparison are thinned here by one rule: that of the data set which the release has learned.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sqlalchemy import Engine

from evertune.data.duplicates import near_duplicates
from evertune.ledger import releases, steps
from evertune.monitoring.samples import Ints, Sample
from evertune.project import Project
from evertune.records import Step


def threshold(engine: Engine, project: Project, generation: int) -> float | None:
    """From what similarity two texts count as one to this release, by the project that its run has frozen.

    By the project as it is now where the ledger does not know that run's claim.
    """
    keys = {release.generation: release.run_key for release in releases.history(engine, project.slug)}
    claimed = steps.result(engine, keys[generation], Step.CLAIM) if generation in keys else None
    if claimed is None or "project" not in claimed:
        return project.preparation.near_duplicates
    return Project.model_validate(claimed["project"]).preparation.near_duplicates


def one_of_each(texts: Sequence[str], near: float | None) -> Ints:
    """Numbers of the texts that stay, rising: the first of each, and of those that are near each other.

    Whatever their labels: most traffic has none, and the rule is the same for both sides.
    """
    first = np.array(sorted({text: row for row, text in reversed(list(enumerate(texts)))}.values()), np.int64)
    if near is None:
        return first
    found = [texts[row] for row in first]
    rows = len(found)
    dropped = near_duplicates(found, np.zeros(rows, np.int8), np.zeros(rows, np.int32), np.arange(rows), near)
    return np.delete(first, list(dropped))


def without_copies(sample: Sample, near: float | None) -> Sample:
    """The rows whose texts stay."""
    stay = one_of_each(sample.texts, near)
    return sample if len(stay) == len(sample) else sample.take(stay)
