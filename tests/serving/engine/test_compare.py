from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score

from evertune.serving.engine import compare

ROWS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50)


@given(ROWS)
def test_macro_f1_is_that_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, answered = (np.array(column) for column in zip(*rows, strict=True))
    wanted = f1_score(truth, answered, average="macro", zero_division=0.0)
    assert compare.macro_f1(truth, answered, 4) == pytest.approx(wanted)


def test_the_worse_way_of_answering_counts() -> None:
    truth = np.arange(1000) % 2
    exact, alone, batched = truth.copy(), truth.copy(), truth.copy()
    batched[:20] ^= 1
    found = compare.compare(truth, exact, [alone, batched], 2)
    assert (found.agreement, found.accuracy_fp32, found.accuracy_int8) == (0.98, 1.0, 0.98)
    assert "only 98.0%" in (found.fault(1.0) or "")


def test_a_loss_of_quality_is_a_fault_even_where_labels_agree() -> None:
    truth = np.arange(1000) % 2
    exact, fast = truth.copy(), truth.copy()
    fast[:8] ^= 1
    found = compare.compare(truth, exact, [fast], 2)
    assert found.agreement == 0.992
    assert found.fault(0.01) is None
    assert "0.0080 macro F1" in (found.fault(0.003) or "")
    assert compare.compare(truth, fast, [exact], 2).fault(0.0) is None, "a gain is none"
