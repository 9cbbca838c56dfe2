"""That everything of a step lies where the model lies: on a machine with CUDA for real, on any other on torch's meta
device, which computes shapes only but refuses, as CUDA does, to compute with tensors that were left behind."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.models import tiny
from torch.nn.functional import cross_entropy

from evertune.jobs import CancelledError
from evertune.models import classifier, forward, packed
from evertune.project.options import Method
from evertune.tuning import batches, checkpoints, memory, methods, trainer

META = torch.device("meta")
cuda = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def _no_autocast(monkeypatch: pytest.MonkeyPatch) -> None:
    # Autocast knows no meta device.
    monkeypatch.setattr(torch, "is_autocast_enabled", lambda _kind: False)
    monkeypatch.setattr(torch, "autocast", lambda *_args, **_settings: contextlib.nullcontext())


@pytest.mark.usefixtures("_no_autocast")
@pytest.mark.parametrize("method", list(Method))
def test_nothing_of_a_step_is_left_behind_on_the_cpu(
    base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, method: Method
) -> None:
    # The meta device lets ids of another one look up its rows, so the batches are looked at by themselves.
    pack, made = packed.pack, list[packed.Packed]()

    def seen(*given: Any) -> packed.Packed:
        made.append(pack(*given))
        return made[-1]

    monkeypatch.setattr(packed, "pack", seen)
    model = methods.build(base, tiny.LABELS, tiny.project(method=method).tuning, META)
    rows = batches.load(dataset, "train")
    picked = np.arange(8)
    ids = rows.ids(picked)
    found = [forward.logits(model, ids), *forward.both(model, ids, forward.BEFORE_LAST), forward.embeddings(model, ids)]
    assert {each.device for each in [*found, *forward.padded(model, ids).values()]} == {META}
    assert {each.device for batch in made for each in (batch.ids, batch.positions, batch.starts)} == {META}
    truth = torch.from_numpy(rows.truth[picked]).to(META)
    cross_entropy(found[0], truth, reduction="sum").backward()  # type: ignore[no-untyped-call]
    tuned = methods.trainable(model)
    gradients = [parameter.grad for parameter in tuned.values()]
    assert all(gradient is not None and gradient.device == META for gradient in gradients)


def test_what_a_checkpoint_held_goes_to_the_models_device(base: Path) -> None:
    options = tiny.project().tuning
    here = methods.build(base, tiny.LABELS, options, torch.device("cpu"))
    tuned, optimiser = methods.trainable(here), methods.optimiser(here, options)
    for parameter in tuned.values():
        parameter.grad = torch.ones_like(parameter)
    optimiser.step()
    held = checkpoints.gather(tuned, optimiser)
    there = methods.build(base, tiny.LABELS, options, META)
    known, moved = methods.trainable(there), methods.optimiser(there, options)
    checkpoints.restore(held, known, moved)
    assert {value.device for state in moved.state.values() for value in state.values()} == {META}


@cuda
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("method", list(Method))
def test_a_gpu_tunes_goes_on_after_a_stop_and_answers_as_the_cpu_does(  # noqa: PLR0917 - fixtures
    tmp_path: Path, base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, method: Method, precision: str
) -> None:
    settings: dict[str, Any] = {"method": method, "precision": precision, "epochs": 6, "checkpoint_s": 1e-9}
    work, project, left = tmp_path / "work", tiny.project(**settings), iter(range(9))
    call = (project, dataset, base, work, work / "bundle", tiny.ignore)
    assert "cuda" in str(memory.preflight(project, dataset, base).device)
    torch.cuda.reset_peak_memory_stats()
    with pytest.raises(CancelledError):
        trainer.train(*call, lambda: next(left, None) is None)
    result = trainer.train(*call, tiny.never)
    assert torch.cuda.max_memory_allocated() > 0
    assert result.precision == precision
    assert result.curve[-1]["validation_loss"] < result.curve[0]["validation_loss"]
    texts = [words for words, _ in tiny.sentences(60, seed=99)]
    there = classifier.load(work / "bundle", result.digest)
    assert there.network.device.type == "cuda"
    answers = there.probabilities(texts)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    np.testing.assert_allclose(classifier.load(work / "bundle", result.digest).probabilities(texts), answers, atol=1e-3)
