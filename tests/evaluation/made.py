"""Paired answers of made-up models with a known error rate, for the tests of this room."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evertune.evaluation import summary
from evertune.evaluation.paired import CHAMPION, MAJORITY, UNTUNED, Pairs
from evertune.records import Evaluation

Right = NDArray[np.bool_]
FACTS: dict[str, Any] = {"run_key": "run-1", "dataset_version": "v", "pairs": "pairs.parquet"}


def probabilities(truth: NDArray[np.int64], right: Right, classes: int, confidence: float = 0.9) -> NDArray[np.float32]:
    """Sure answers that are right where ``right`` says so, else the next class."""
    answer = np.where(right, truth, (truth + 1) % classes)
    found = np.full((len(truth), classes), (1 - confidence) / (classes - 1), np.float32)
    found[np.arange(len(truth)), answer] = confidence
    return found


def pairs_of(ours: Right, theirs: Right, classes: int = 2, groups: NDArray[np.int64] | None = None) -> Pairs:
    """Two models' answers that are right on the rows given."""
    rows = len(ours)
    truth = np.arange(rows) % classes
    labels = tuple(f"class {i}" for i in range(classes))
    return Pairs(
        row_ids=[f"row {i}" for i in range(rows)],
        labels=labels,
        truth=truth,
        challenger=probabilities(truth, ours, classes, 0.9),
        opponents={
            CHAMPION: probabilities(truth, theirs, classes, 0.8),
            MAJORITY: np.tile(np.eye(classes, dtype=np.float32)[0], (rows, 1)),
            UNTUNED: probabilities(truth, np.arange(rows) % 5 > 0, classes),
        },
        groups=np.arange(rows) if groups is None else groups,
        columns={
            "class": [labels[i] for i in truth],
            "half": ["first" if i < rows // 2 else "second" for i in range(rows)],
        },
    )


def won_and_lost(won: int, lost: int, rows: int) -> Pairs:
    """Pairs in which the challenger alone is right on ``won`` rows, the champion alone on ``lost``, both elsewhere."""
    ours, theirs = np.ones(rows, bool), np.ones(rows, bool)
    order = np.random.default_rng(0).permutation(rows)
    theirs[order[:won]] = False
    ours[order[won : won + lost]] = False
    return pairs_of(ours, theirs)


def without_champion(pairs: Pairs) -> Pairs:
    """The same as a project's first release sees it."""
    others = {name: answers for name, answers in pairs.opponents.items() if name != CHAMPION}
    return Pairs(pairs.row_ids, pairs.labels, pairs.truth, pairs.challenger, others, pairs.groups, pairs.columns)


def evaluation_of(pairs: Pairs) -> Evaluation:
    """The evaluation that belongs to the pairs."""
    return summary.of(pairs, FACTS)
