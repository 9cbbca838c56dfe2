"""The last layer computed for the first token of each row, where nothing else of it is read.

A classification head reads the first token alone. Its attention needs keys and values of all tokens; its query, and all
that comes after, are computed for one token a row: a sixth of the layer is left.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from evertune.serving.engine.graphs.nodes import ATTENTION, DOMAIN, constants, rewrite

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from onnx import GraphProto, NodeProto

_INPUTS = ("states", "weights", "bias", "mask")
_NAMES = {"num_heads", "mask_filter_value"}
"""Inputs and attributes of an attention that this is done to. Others know biases of positions, or look back only."""
_ALIKE = {"Add", "FastGelu", "Gelu", "LayerNormalization", "Relu"}
"""Operators that compute every token alike."""


class _Layer(NamedTuple):
    """The graph's last attention, and what is made of it."""

    attention: NodeProto
    after: list[NodeProto]
    """What computes token by token, up to where the first one is taken."""
    known: dict[str, NDArray[np.generic]]
    """The graph's constants."""


def narrow(path: Path) -> bool:
    """Have the last layer compute the first token only, in place; whether that could be done."""
    import onnx

    model = onnx.load(str(path))
    layer = _last(model.graph)
    if layer is None:
        return False
    states, started = layer.attention.input[0], f"{layer.attention.name}.first"
    nodes: list[NodeProto] = []
    for node in model.graph.node:
        if node is layer.attention:
            nodes += _of_first(model.graph, layer, started)
            continue
        if any(node is one for one in layer.after):  # a residual
            node.input[:] = [started if name == states else name for name in node.input]
        nodes.append(node)
    rewrite(model.graph, nodes)
    onnx.save(model, str(path))
    return True


def _last(graph: GraphProto) -> _Layer | None:
    """The last layer, where nothing but the first token's output is read of it."""
    attention = next((node for node in reversed(graph.node) if node.op_type == ATTENTION), None)
    if attention is None or not _is_plain(attention):
        return None
    known = constants(graph)
    whole = {attention.output[0]}
    """Values of all tokens of the layer."""
    after: list[NodeProto] = []
    for node in graph.node:
        if not whole & set(node.input):
            continue
        if _token_by_token(node, {*whole, attention.input[0]}, known):
            after.append(node)
            whole.update(node.output)
        elif not _takes_first(node, known):
            return None
    return None if whole & {one.name for one in graph.output} else _Layer(attention, after, known)


def _is_plain(attention: NodeProto) -> bool:
    whole = len(attention.input) == len(_INPUTS) and all(attention.input) and len(attention.output) == 1
    return whole and {one.name for one in attention.attribute} <= _NAMES


def _token_by_token(node: NodeProto, of_tokens: set[str], known: dict[str, NDArray[np.generic]]) -> bool:
    """Whether its output for a token hangs on nothing but the inputs for that token, and on constants."""
    shapes = [None if name in of_tokens else known[name].ndim if name in known else -1 for name in node.input]
    if node.op_type == "MatMul":
        return shapes == [None, 2]
    return node.op_type in _ALIKE and all(shape in {None, 0, 1} for shape in shapes)


def _takes_first(node: NodeProto, known: dict[str, NDArray[np.generic]]) -> bool:
    picked = known.get(node.input[1]) if node.op_type == "Gather" else None
    axis = next((one.i for one in node.attribute if one.name == "axis"), 0)
    return picked is not None and axis == 1 and picked.shape == () and picked == 0


def _of_first(graph: GraphProto, layer: _Layer, started: str) -> Iterator[NodeProto]:
    """Attention of each row's first token to all of them."""
    from onnx import helper, numpy_helper

    node, held = layer.attention, layer.known
    states, weights, bias, mask = node.input
    width = held[weights].shape[1] // 3
    query, both = f"{node.name}.query", f"{node.name}.keys_and_values"

    def constant(name: str, value: NDArray[np.generic]) -> str:
        graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
        return name

    places = [
        constant(f"{node.name}.{name}", np.array([value])) for name, value in (("from", 0), ("to", 1), ("axis", 1))
    ]
    yield helper.make_node("Slice", [states, *places], [started], started)
    for name, given, part in ((query, started, np.s_[:width]), (both, states, np.s_[width:])):
        factors = [given, constant(f"{name}.factors", held[weights][:, part])]
        yield helper.make_node("MatMul", factors, [f"{name}.product"], name)
        summed = [f"{name}.product", constant(f"{name}.bias", held[bias][part])]
        yield helper.make_node("Add", summed, [f"{name}.sum"], f"{name}.Add")
    keys, values = f"{node.name}.keys", f"{node.name}.values"
    yield helper.make_node("Split", [f"{both}.sum"], [keys, values], f"{node.name}.Split", axis=-1)
    inputs = [f"{query}.sum", keys, values, "", mask]
    made = helper.make_node("MultiHeadAttention", inputs, list(node.output), node.name, domain=DOMAIN)
    made.attribute.extend(node.attribute)
    yield made
