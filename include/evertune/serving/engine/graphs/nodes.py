"""What those who change ONNX graphs have in common."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto

DOMAIN = "com.microsoft"
"""Of onnxruntime's own operators."""
ATTENTION = "Attention"
"""One of them: the products that make queries, keys and values, and what is made of those."""


def constants(graph: GraphProto) -> dict[str, NDArray[np.generic]]:
    """What the graph holds by name, apart from its nodes' outputs: its weights, and values that nodes give."""
    from onnx import numpy_helper

    given = {
        node.output[0]: one.t
        for node in graph.node
        if node.op_type == "Constant"
        for one in node.attribute
        if one.name == "value"
    }
    held = given | {one.name: one for one in graph.initializer}
    return {name: numpy_helper.to_array(value) for name, value in held.items()}


def rewrite(graph: GraphProto, nodes: Sequence[NodeProto]) -> None:
    """Have the graph made of these nodes, and of the weights that they read."""
    del graph.node[:]
    graph.node.extend(nodes)
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
