from __future__ import annotations

from typing import Any

import pytest
import torch
import transformers

from evertune.models import forward, positions

SIZES = {"vocab_size": 64, "hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}
ROWS = 20


def _model(kind: str, **changes: Any) -> Any:
    config = transformers.CONFIG_MAPPING[kind](**SIZES, max_position_embeddings=ROWS, num_labels=2, **changes)
    return transformers.AutoModelForSequenceClassification.from_config(config).eval()


@pytest.mark.parametrize(
    ("kind", "changes", "most"),
    [
        ("roberta", {}, ROWS - 2),
        ("xlm-roberta", {}, ROWS - 2),
        ("camembert", {}, ROWS - 2),
        ("mpnet", {}, ROWS - 2),
        ("roberta", {"pad_token_id": 5}, ROWS - 6),
        ("mpnet", {"pad_token_id": 5}, ROWS - 2),
        ("bert", {}, ROWS),
        ("electra", {}, ROWS),
        ("albert", {}, ROWS),
    ],
)
def test_as_many_tokens_are_taken_and_not_one_more(kind: str, changes: dict[str, int], most: int) -> None:
    model = _model(kind, **changes)
    assert positions.most(model.config.to_dict()) == most
    with torch.no_grad():
        assert forward.logits(model, [[9] * most, [9] * 3]).isfinite().all()
        with pytest.raises((IndexError, RuntimeError), match=r"range|size"):
            forward.logits(model, [[9] * (most + 1), [9] * 3])


@pytest.mark.parametrize(
    ("config", "most"),
    [
        ({}, None),
        ({"model_type": "bert", "max_position_embeddings": "512"}, None),
        ({"model_type": "roberta", "max_position_embeddings": 514}, 512),
        ({"model_type": "camembert", "max_position_embeddings": 514, "pad_token_id": 1}, 512),
        ({"model_type": "xlm-roberta", "max_position_embeddings": 514, "pad_token_id": None}, 512),
        ({"model_type": "bert", "max_position_embeddings": 512, "pad_token_id": 0}, 512),
    ],
)
def test_what_the_configuration_says_and_leaves_out(config: dict[str, object], most: int | None) -> None:
    assert positions.most(config) == most
