"""Fused operators taken apart where the runtime's own are slower than what they are made of.

``SkipLayerNormalization`` sums a row number by number on a CPU (seen with onnxruntime 1.32), seven times slower than
sums and a ``LayerNormalization``. The biases that it and ``BiasGelu`` add stand by themselves afterwards, next to their
products, so that a product in 8 bits can take its bias in.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from evertune.serving.engine.graphs.nodes import DOMAIN, rewrite

if TYPE_CHECKING:
    from onnx import NodeProto

NORM, GELU = "SkipLayerNormalization", "BiasGelu"
"""Sum of two activations and perhaps a bias, normalised: what the optimiser makes of a residual and its layer norm.
Sum of a product and its bias, through a GELU."""


def take_apart(path: Path) -> None:
    """Replace the fused operators of the graph, in place. Those with further outputs stay as they are."""
    import onnx

    model = onnx.load(str(path))
    numbers = itertools.count()
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        alone = len([name for name in node.output if name]) == 1
        if node.op_type == NORM and alone:
            nodes += _norm(node, f"plain_{next(numbers)}")
        elif node.op_type == GELU:
            nodes += _gelu(node, f"plain_{next(numbers)}")
        else:
            nodes.append(node)
    rewrite(model.graph, nodes)
    onnx.save(model, str(path))


def _norm(node: NodeProto, prefix: str) -> Iterator[NodeProto]:
    from onnx import helper

    epsilon = next((one.f for one in node.attribute if one.name == "epsilon"), 1e-12)
    summed, skipped, gain, offset, *bias = node.input
    for place, other in enumerate([*filter(None, bias), skipped]):  # the bias first: the product can take that in
        yield helper.make_node("Add", [summed, other], [f"{prefix}_sum_{place}"], f"{prefix}_Add_{place}")
        summed = f"{prefix}_sum_{place}"
    name = f"{prefix}_LayerNormalization"
    yield helper.make_node("LayerNormalization", [summed, gain, offset], node.output[:1], name, epsilon=epsilon)


def _gelu(node: NodeProto, prefix: str) -> Iterator[NodeProto]:
    from onnx import helper

    yield helper.make_node("Add", list(node.input), [f"{prefix}_sum"], f"{prefix}_Add")
    yield helper.make_node("Gelu", [f"{prefix}_sum"], list(node.output), f"{prefix}_Gelu", domain=DOMAIN)
