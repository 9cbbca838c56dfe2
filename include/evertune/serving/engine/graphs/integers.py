"""The graph with its matrix products in integers, as `quantise` has planned them."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.serving.engine.graphs.nodes import ATTENTION, DOMAIN, rewrite
from evertune.serving.engine.graphs.quantise import REST, Quantised, Site, sites

if TYPE_CHECKING:
    from onnx import GraphProto, NodeProto


def write(exact: Path, to: Path, planned: dict[str, Quantised]) -> None:
    """Write the graph with these products in 8 bits. Raises :class:`ValueError` where there are none."""
    import onnx

    if not planned:
        raise ValueError("the graph has no products with constant weights")
    model = onnx.load(str(exact))
    made = {site.node.name: (site, planned[site.node.name]) for site in sites(model) if site.node.name in planned}
    graph = model.graph
    biased = _biased(graph, [site for site, _ in made.values()])
    taken_in = [id(add) for add in biased.values()]
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.name in made:
            nodes += _replaced(graph, *made[node.name], biased.get(node.output[0]))
        elif id(node) not in taken_in:
            nodes.append(node)
    rewrite(graph, nodes)
    if not any(one.domain == DOMAIN for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    onnx.save(model, str(to))


def _biased(graph: GraphProto, sites: Sequence[Site]) -> dict[str, NodeProto]:
    """Products of which nothing is read but their sum with a constant for each output: the name → that ``Add``."""
    read = Counter([name for node in graph.node for name in node.input] + [one.name for one in graph.output])
    outputs = {one.node.output[0]: one.weights.shape[1] for one in sites if one.node.op_type == "MatMul"}
    shapes = {tensor.name: list(tensor.dims) for tensor in graph.initializer}
    return {
        product: node
        for node in graph.node
        if node.op_type == "Add"
        for product, bias in itertools.permutations(node.input)
        if read[product] == 1 and product in outputs and shapes.get(bias) == [outputs[product]]
    }


def _replaced(graph: GraphProto, site: Site, made: Quantised, biased: NodeProto | None) -> list[NodeProto]:
    from onnx import helper

    node, name = site.node, site.node.name

    def constant(what: str, value: Any) -> str:
        from onnx import numpy_helper

        graph.initializer.append(numpy_helper.from_array(np.asarray(value), f"{name}.{what}"))
        return f"{name}.{what}"

    smooth, scale, zero = constant("smooth", made.smooth), constant("scale", made.scale), constant("zero", made.zero)
    weights, scales = constant("weights", made.weights), constant("scales", made.scales)
    before = [
        helper.make_node("Mul", [site.input, smooth], [f"{name}.smoothed"], f"{name}.Mul"),
        helper.make_node("QuantizeLinear", [f"{name}.smoothed", scale, zero], [f"{name}.whole"], f"{name}.Quantize"),
    ]
    whole = f"{name}.whole"
    if node.op_type == ATTENTION:
        bias, mask = node.input[2], node.input[3] if len(node.input) > 3 else ""
        inputs = [whole, weights, bias, scale, scales, mask, zero]
        made_node = helper.make_node("QAttention", inputs, list(node.output), name, domain=DOMAIN)
        made_node.attribute.extend(one for one in node.attribute if one.name in {"num_heads", "unidirectional"})
    else:
        inputs, outputs = [whole, weights, scale, scales, zero], node.output
        if biased is not None:
            bias = next(one for one in biased.input if one != node.output[0])
            inputs, outputs = [*inputs, "", bias], biased.output
        coarse = f"{name}.coarse" if made.finer else outputs[0]
        made_node = helper.make_node("MatMulIntegerToFloat", inputs, [coarse], name, domain=DOMAIN)
        if made.finer:
            step, middle = constant("step", made.scale / np.float32(REST)), constant("middle", np.uint8(128))
            fine = _fine(name, [whole, scale, zero], [step, middle], [weights, scales])
            return [
                *before,
                made_node,
                *fine,
                helper.make_node("Add", [coarse, f"{name}.fine"], outputs, f"{name}.Add"),
            ]
    return [*before, made_node]


def _fine(name: str, first: list[str], second: list[str], weights: list[str]) -> list[NodeProto]:
    """The product with the second part of the input: ``{name}.fine``.

    ``first``: the first part, its scale and zero; ``second``: this one's scale and zero; ``weights`` with their scales.
    """
    from onnx import helper

    (step, middle), (whole, scales) = second, weights
    rest = [f"{name}.rest", whole, step, scales, middle]
    return [
        helper.make_node("DequantizeLinear", first, [f"{name}.near"], f"{name}.Dequantize"),
        helper.make_node("Sub", [f"{name}.smoothed", f"{name}.near"], [f"{name}.left"], f"{name}.Sub"),
        helper.make_node("QuantizeLinear", [f"{name}.left", *second], [f"{name}.rest"], f"{name}.Rest"),
        helper.make_node("MatMulIntegerToFloat", rest, [f"{name}.fine"], f"{name}.Fine", domain=DOMAIN),
    ]
