"""A classifier's weights as ``encoder.c`` takes them: one file, part after part, and the model's shape beside it."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from evertune import files
from evertune.models import forward, packed
from evertune.serving.engine.native.encoder import SHAPE, Shape
from evertune.serving.engine.served import WEIGHTS

if TYPE_CHECKING:
    from torch import Tensor

_ALIGNED = 64
_ROWS, _DEPTH = 16, 32
"""Outputs and inputs of a tile."""


def fault(network: Any, embedded: int) -> str | None:
    """Why the model cannot be computed by ``encoder.c``, or ``None`` where it can."""
    config = network.config
    if not packed.supports(network):
        return f"the architecture {config.model_type} is not BERT's"
    if config.hidden_act != "gelu":
        return f"its activation is {config.hidden_act}"
    if embedded != forward.BEFORE_LAST:
        return "its embeddings are of what the last layer gives"
    size, odd = divmod(config.hidden_size, config.num_attention_heads)
    if odd or size % _DEPTH or config.intermediate_size % _DEPTH:
        return f"heads of {size} and inner layers of {config.intermediate_size} numbers do not fill tiles of {_DEPTH}"
    return None


def write(network: Any, folder: Path) -> None:
    """Write the weights, in the order of ``take_embeddings``, ``take_layer`` and ``take_head``, and the shape."""
    files.write_json(folder / SHAPE, _shape(network).model_dump())
    with (folder / WEIGHTS).open("wb") as file:
        for part in _parts(network):
            _put(file, part)


def _shape(network: Any) -> Shape:
    config = network.config
    return Shape(
        vocabulary=config.vocab_size,
        positions=config.max_position_embeddings,
        width=config.hidden_size,
        heads=config.num_attention_heads,
        inner=config.intermediate_size,
        layers=config.num_hidden_layers,
        labels=config.num_labels,
        epsilon=config.layer_norm_eps,
    )


def _parts(network: Any) -> Iterator[Tensor]:
    import torch

    bert = network.bert
    embeddings, config = bert.embeddings, network.config
    yield embeddings.word_embeddings.weight.bfloat16()
    yield (embeddings.position_embeddings.weight + embeddings.token_type_embeddings.weight[0]).float()
    yield from _norm(embeddings.LayerNorm)
    # Scores are powers of 2 there, so 1 / sqrt(size) and log2(e) go into the queries.
    scale = math.log2(math.e) / math.sqrt(config.hidden_size // config.num_attention_heads)
    for layer in bert.encoder.layer:
        own, mix = layer.attention.self, layer.attention.output
        parts = (own.query, own.key, own.value)
        yield from _product(
            torch.cat([part.weight.float() * by for part, by in zip(parts, (scale, 1, 1), strict=True)]),
            torch.cat([part.bias.float() * by for part, by in zip(parts, (scale, 1, 1), strict=True)]),
        )
        yield from _product(mix.dense.weight, mix.dense.bias)
        yield from _norm(mix.LayerNorm)
        yield from _product(layer.intermediate.dense.weight, layer.intermediate.dense.bias)
        yield from _product(layer.output.dense.weight, layer.output.dense.bias)
        yield from _norm(layer.output.LayerNorm)
    yield from _product(bert.pooler.dense.weight, bert.pooler.dense.bias)
    yield network.classifier.weight.float()
    yield network.classifier.bias.float()


def _product(weight: Tensor, bias: Tensor) -> Iterator[Tensor]:
    # Tiles of 16 outputs and 32 inputs; within one, a row holds two inputs of each output.
    outputs, inputs = weight.shape
    tiles = weight.bfloat16().view(outputs // _ROWS, _ROWS, inputs // _DEPTH, _DEPTH // 2, 2)
    yield tiles.permute(0, 2, 3, 1, 4)
    yield bias.float()


def _norm(norm: Any) -> Iterator[Tensor]:
    yield norm.weight.float()
    yield norm.bias.float()


def _put(file: BinaryIO, part: Tensor) -> None:
    import torch

    whole = part.detach().cpu().contiguous()
    numbers = whole.view(torch.int16) if whole.dtype == torch.bfloat16 else whole
    content = numbers.numpy().tobytes()
    file.write(content + bytes(-len(content) % _ALIGNED))
