from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.models import tiny

from evertune.tuning import batches, validation


def test_all_rows_are_measured_in_their_order(dataset: Path) -> None:
    model, rows = tiny.classifier(), batches.load(dataset, "validation")
    model.train()
    found = validation.measure(model, rows, 2, 64, torch.float32)
    assert model.training
    model.eval()
    for place in (0, 31, 59):
        ids = torch.tensor([rows.ids(np.array([place]))[0].tolist()])
        np.testing.assert_allclose(model(ids).logits[0].detach().numpy(), found.logits[place], atol=1e-5)
    expected = torch.nn.functional.cross_entropy(torch.from_numpy(found.logits), torch.from_numpy(rows.truth))
    assert found.loss == pytest.approx(float(expected), rel=1e-5)
