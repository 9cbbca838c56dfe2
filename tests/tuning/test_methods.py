from __future__ import annotations

from pathlib import Path

import pytest
import torch
from tests.models import tiny

from evertune import files
from evertune.models import tensors
from evertune.project.options import Tuning
from evertune.records import UnfitError
from evertune.tuning import methods

CPU = torch.device("cpu")


def test_the_head_comes_from_the_seed(base: Path) -> None:
    heads = [methods.build(base, tiny.LABELS, Tuning(seed=seed), CPU).classifier.weight for seed in (1, 1, 2)]
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_biases_and_norms_do_not_decay(base: Path) -> None:
    model = methods.build(base, tiny.LABELS, Tuning(), CPU)
    decayed, plain = methods.optimiser(model, Tuning(weight_decay=0.1)).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert {p.ndim for p in plain["params"]} == {1}


@pytest.mark.parametrize("frozen", [True, False])
def test_lora_trains_adapters_and_the_head_only(base: Path, frozen: bool) -> None:
    model = methods.build(base, tiny.LABELS, Tuning(method="lora", freeze_embeddings=frozen), CPU)
    names = methods.trainable(model)
    assert all("lora_" in name or "classifier" in name for name in names)
    assert any("classifier" in name for name in names)


def test_the_matrices_that_start_at_zero_take_larger_steps(base: Path) -> None:
    options = Tuning(method="lora", learning_rate=1e-3, lora={"rate_ratio": 16})
    model = methods.build(base, tiny.LABELS, options, CPU)
    optimiser = methods.optimiser(model, options)
    methods.set_rate(optimiser, 5e-4)
    rates = {id(p): group["lr"] for group in optimiser.param_groups for p in group["params"]}
    for name, parameter in methods.trainable(model).items():
        assert rates[id(parameter)] == pytest.approx(16 * 5e-4 if "lora_B" in name else 5e-4), name
        assert bool((parameter == 0).all()) == ("lora_B" in name or name.endswith("bias")), name


def test_weights_of_another_model_are_refused(tmp_path: Path) -> None:
    folder = tiny.base(tmp_path / "base")
    held = tensors.load(folder / "model.safetensors")
    tensors.save(folder / "model.safetensors", {f"other.{name}": value for name, value in held.items()})
    files.seal(folder)
    with pytest.raises(UnfitError, match="that of another model"):
        methods.build(folder, tiny.LABELS, Tuning(), CPU)


@pytest.mark.parametrize(("done", "share"), [(0.0, 0.0), (0.05, 0.5), (0.1, 1.0), (0.55, 0.5), (1.0, 0.0)])
def test_the_rate_rises_to_its_peak_and_falls_to_nothing(done: float, share: float) -> None:
    options = Tuning(epochs=4, learning_rate=2e-4, warmup=0.1)
    assert methods.learning_rate(options, done * 4) == pytest.approx(share * 2e-4)


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_no_warmup_and_nothing_but_warmup(warmup: float) -> None:
    options = Tuning(epochs=1, learning_rate=1e-3, warmup=warmup)
    assert methods.learning_rate(options, 0.5) == pytest.approx(5e-4)
