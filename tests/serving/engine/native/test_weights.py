from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from tests.serving.engine.native import fit

from evertune.models import forward
from evertune.serving.engine.native import weights

UNFIT: dict[str, tuple[dict[str, Any], str]] = {
    "heads": ({"hidden_size": 32}, "heads of 16"),
    "inner": ({"intermediate_size": 100}, "inner layers of 100"),
    "activation": ({"hidden_act": "relu"}, "activation is relu"),
}


def test_a_model_that_fills_the_tiles_is_fit() -> None:
    assert weights.fault(fit.network(), forward.BEFORE_LAST) is None


@pytest.mark.parametrize("name", UNFIT)
def test_what_the_code_does_not_compute_is_told(name: str) -> None:
    changes, why = UNFIT[name]
    assert why in str(weights.fault(fit.network(**changes), forward.BEFORE_LAST))


def test_older_embeddings_and_other_architectures_go_to_onnx() -> None:
    assert "last layer gives" in str(weights.fault(fit.network(), forward.LAST))
    config = transformers.DistilBertConfig(vocab_size=64, dim=64, hidden_dim=64, n_layers=1, n_heads=2)
    other = transformers.DistilBertForSequenceClassification(config)
    assert "distilbert" in str(weights.fault(other, forward.BEFORE_LAST))


def test_weights_are_written_from_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # A GPU's tensors become numbers only after they were brought to the CPU.
    calls: list[str] = []
    for name in ("cpu", "numpy"):
        monkeypatch.setattr(torch.Tensor, name, _noted(name, getattr(torch.Tensor, name), calls))
    weights.write(fit.network(), tmp_path)
    assert calls == ["cpu", "numpy"] * (len(calls) // 2) != []


def _noted(name: str, method: Callable[[torch.Tensor], Any], calls: list[str]) -> Callable[[torch.Tensor], Any]:
    def call(part: torch.Tensor) -> Any:
        calls.append(name)
        return method(part)

    return call
