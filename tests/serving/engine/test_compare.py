from __future__ import annotations

import numpy as np

from evertune.serving.engine import compare


def test_the_worse_way_of_answering_counts() -> None:
    truth = np.arange(1000) % 2
    exact, alone, batched = truth.copy(), truth.copy(), truth.copy()
    batched[:20] ^= 1
    found = compare.compare(truth, exact, [alone, batched], 2)
    assert (found.agreement, found.accuracy_fp32, found.accuracy) == (0.98, 1.0, 0.98)
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
