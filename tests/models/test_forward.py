from __future__ import annotations

import numpy as np

from evertune.models import forward


def test_batches_keep_the_budget_and_hold_each_row_once() -> None:
    lengths = np.random.default_rng(1).integers(1, 60, 500)
    batches = list(forward.by_length(lengths, 200))
    assert sorted(np.concatenate(batches).tolist()) == list(range(500))
    assert all(lengths[batch].max() * len(batch) <= 200 for batch in batches)
    assert [lengths[batch].max() for batch in batches] == sorted((lengths[b].max() for b in batches), reverse=True)


def test_a_row_above_the_budget_is_a_batch_of_its_own() -> None:
    assert [batch.tolist() for batch in forward.by_length([5, 90, 5], 10)] == [[1], [0, 2]]
