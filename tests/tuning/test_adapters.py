from __future__ import annotations

from typing import Any

import pytest
import torch
from tests.models import tiny

from evertune.models import forward
from evertune.project.options import Lora
from evertune.tuning import adapters, methods


def _adapted(dropout: float = 0.0) -> Any:
    torch.manual_seed(1)
    model = adapters.attach(tiny.classifier(), Lora(rank=4, alpha=8, dropout=dropout))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_B" in name:
                parameter.normal_(std=0.2)
    return model


def _gradients(model: Any, rows: list[list[int]]) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    model.zero_grad()
    logits = forward.logits(model, rows)
    torch.nn.functional.cross_entropy(logits, torch.arange(len(rows)) % 2).backward()  # type: ignore[no-untyped-call]
    return logits.detach(), {n: p.grad.clone() for n, p in methods.trainable(model).items() if p.grad is not None}


def test_the_numbers_and_the_gradients_are_pefts() -> None:
    model, rows = _adapted(), tiny.rows(20)
    expected, theirs = _gradients(model, rows)
    adapters.speed_up(model)
    found, ours = _gradients(model, rows)
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=0)
    assert ours.keys() == theirs.keys()
    assert any("lora_A" in name for name in ours)
    for name, gradient in theirs.items():
        torch.testing.assert_close(ours[name], gradient, atol=1e-5, rtol=1e-3, msg=name)


def test_the_padded_way_gives_the_same_too() -> None:
    model, rows = _adapted(), tiny.rows(20)
    adapters.speed_up(model)
    with torch.no_grad():
        padded = model(**forward.padded(model, rows)).logits
        torch.testing.assert_close(forward.logits(model, rows), padded, atol=1e-4, rtol=0)


def test_merging_changes_no_answer() -> None:
    model, rows = _adapted(), tiny.rows(20)
    adapters.speed_up(model)
    with torch.no_grad():
        before = forward.logits(model, rows)
        plain = methods.finished(model)
        after = forward.logits(plain, rows)
    assert not [name for name, _ in plain.named_parameters() if "lora" in name]
    torch.testing.assert_close(after, before, atol=1e-4, rtol=0)


def test_bf16_stays_near() -> None:
    model, rows = _adapted(), tiny.rows(20)
    expected, theirs = _gradients(model, rows)
    adapters.speed_up(model)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, ours = _gradients(model, rows)
    torch.testing.assert_close(found.float(), expected, atol=0.1, rtol=0.1)
    for name, gradient in theirs.items():
        assert ours[name].dtype is torch.float32
        alike = torch.nn.functional.cosine_similarity(ours[name].flatten(), gradient.flatten(), dim=0)
        assert alike > 0.9 or gradient.norm() < 1e-4, name


def test_an_adapter_that_has_only_begun_to_learn_counts_in_bf16() -> None:
    torch.manual_seed(1)
    layer = adapters.attach(tiny.classifier(hidden_size=384), Lora(rank=8, alpha=16)).bert.encoder.layer[0]
    query = layer.attention.self.query
    with torch.no_grad():
        query.base_layer.weight.normal_(std=0.05)
        query.lora_B["default"].weight.normal_(std=1e-4)
        x = torch.randn(1024, 384).bfloat16().float()
        adapters.speed_up(layer)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = query(x).float()
        base = x @ query.base_layer.weight.bfloat16().float().T + query.base_layer.bias.bfloat16().float()
        wanted = query.scaling["default"] * query.lora_B["default"](query.lora_A["default"](x))
    # Each number is rounded far beyond what the adapter adds, so only all of them together tell.
    assert wanted.std() < 1e-3 * base.std()
    gain = ((found - base) * wanted).sum() / (wanted * wanted).sum()
    assert gain == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(("dropout", "faster"), [(0.0, True), (0.3, False)])
def test_adapters_with_dropout_stay_pefts(dropout: float, faster: bool) -> None:
    model = _adapted(dropout)
    adapters.speed_up(model)
    patched = [module for module in model.modules() if "forward" in module.__dict__]
    assert bool(patched) is faster
    adapters.slow_down(model)
    assert not [module for module in model.modules() if "forward" in module.__dict__]
