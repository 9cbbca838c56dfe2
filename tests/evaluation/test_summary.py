from __future__ import annotations

import numpy as np
import pytest
from tests.evaluation.made import pairs_of

from evertune.evaluation import summary


def test_scores_of_each_slice_and_baseline_come_from_the_pairs() -> None:
    pairs = pairs_of(np.arange(100) >= 10, np.arange(100) >= 20)
    found = summary.of(pairs, {"run_key": "r", "dataset_version": "v", "pairs": "p"})
    assert found.champion is not None
    assert [found.challenger.accuracy, found.champion.accuracy] == pytest.approx([0.9, 0.8])
    assert set(found.baselines) == {"majority", "untuned"}
    first = next(part for part in found.slices if part.name == "half=first")
    assert [first.rows, first.challenger.accuracy] == pytest.approx([50, 0.8])
