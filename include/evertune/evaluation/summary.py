"""What paired answers come to: each side's scores on all rows, on each slice, and on recent traffic."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from evertune.evaluation import metrics
from evertune.evaluation.paired import CHAMPION, Pairs, Probabilities
from evertune.records import Evaluation, Recent, Scores, Slice


def of(pairs: Pairs, facts: dict[str, Any]) -> Evaluation:
    """The evaluation that the paired answers make; ``facts`` are the fields that do not come from them."""
    champion = pairs.opponents.get(CHAMPION)
    return Evaluation(
        challenger=metrics.score(pairs.labels, pairs.truth, pairs.challenger),
        champion=None if champion is None else metrics.score(pairs.labels, pairs.truth, champion),
        baselines={
            name: metrics.score(pairs.labels, pairs.truth, answers)
            for name, answers in pairs.opponents.items()
            if name != CHAMPION
        },
        slices=tuple(_slice(pairs, name, part) for name, part in pairs.slices()),
        recent=None if pairs.recent is None else _recent(pairs.recent),
        **facts,
    )


def _recent(pairs: Pairs) -> Recent:
    def score(answers: Probabilities) -> Scores:
        return metrics.score(pairs.labels, pairs.truth, answers, pairs.weights)

    champion = pairs.opponents.get(CHAMPION)
    return Recent(
        rows=len(pairs),
        effective_rows=pairs.effective_rows,
        challenger=score(pairs.challenger),
        champion=None if champion is None else score(champion),
    )


def _slice(pairs: Pairs, name: str, part: NDArray[np.bool_]) -> Slice:
    champion = pairs.opponents.get(CHAMPION)
    return Slice(
        name=name,
        rows=int(part.sum()),
        challenger=metrics.score(pairs.labels, pairs.truth[part], pairs.challenger[part]),
        champion=None if champion is None else metrics.score(pairs.labels, pairs.truth[part], champion[part]),
    )
