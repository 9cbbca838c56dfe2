from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny

from evertune import files
from evertune.serving.engine.served import MODEL, cores, in_batches
from evertune.serving.engine.session import OnnxModel, padded
from evertune.serving.engine.torch_model import TorchModel


def test_rows_are_padded_to_the_longest() -> None:
    ids, mask = padded([[1, 2, 3], [4]], 9)
    assert ids.tolist() == [[1, 2, 3], [4, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [1, 0, 0]]
    assert padded([[1, 2], [3, 4]], 9)[1].tolist() == [[1, 1], [1, 1]]


def test_all_cores_that_the_process_may_use_compute(monkeypatch: pytest.MonkeyPatch) -> None:
    for count in (1, 2, 8):
        monkeypatch.setattr("os.sched_getaffinity", lambda _, count=count: set(range(count)))
        assert cores() == count


def test_padding_and_company_change_nothing_in_32_bits(fp32_engine: Path) -> None:
    model = OnnxModel(fp32_engine / MODEL, filler=0)
    rows = tiny.rows(40, longest=30, seed=3)
    together = model.run(rows)
    for parts in (
        in_batches(model, rows, 64),
        in_batches(model, rows, 64, threads=3),
        tuple(map(np.concatenate, zip(*(model.run([row]) for row in rows), strict=True))),
    ):
        for one, other in zip(parts, together, strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)


def test_the_model_in_torch_gives_the_same(fp32_engine: Path, shared_bundle: Path) -> None:
    rows = tiny.rows(20, longest=30, seed=4)
    reference = TorchModel(shared_bundle, files.digest(shared_bundle))
    passes: list[object] = []
    reference.network.get_input_embeddings().register_forward_hook(lambda *_: passes.append(None))
    model = OnnxModel(fp32_engine / MODEL, filler=0)
    for one, other in zip(in_batches(reference, rows, 64), in_batches(model, rows, 64), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)
    reference.run(rows)
    before = len(passes)
    reference.run(rows)
    assert len(passes) == before + 1, "logits and embeddings come of one pass"
