from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny

from evertune import files
from evertune.serving.engine.graphs import export
from evertune.serving.engine.served import MODEL, WEIGHTS, cores, in_batches
from evertune.serving.engine.session import MOST_CORES, OnnxModel, padded
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


def test_weights_are_mapped_from_their_file_and_a_batch_that_is_alone_has_the_same_answers(
    fp32_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(export, "_MAPPED_FROM", 1 << 10)
    export.place(fp32_engine / MODEL, tmp_path)
    assert (tmp_path / MODEL).stat().st_size < (fp32_engine / MODEL).stat().st_size - (1 << 10)
    model, before = OnnxModel(tmp_path / MODEL, filler=0, cores=2), OnnxModel(fp32_engine / MODEL, filler=0)
    assert str(tmp_path / WEIGHTS) in Path("/proc/self/maps").read_text()
    for length in (1, 7, 60):
        row = tiny.rows(1, longest=length + 2, seed=length)
        for one, other in zip(model.run(row, alone=True), before.run(row), strict=True):
            np.testing.assert_allclose(one, other, atol=2e-5)


@pytest.mark.parametrize(("cores", "threads"), [(1, 0), (2, 1), (3, 2), (64, MOST_CORES - 1)])
def test_a_batch_that_is_alone_is_shared_by_as_many_cores_as_pay(fp32_engine: Path, cores: int, threads: int) -> None:
    tasks = Path("/proc/self/task")
    there = sum(1 for _ in tasks.iterdir())
    model = OnnxModel(fp32_engine / MODEL, filler=0, cores=cores)
    assert sum(1 for _ in tasks.iterdir()) - there == threads, "the caller computes, too"
    del model


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
