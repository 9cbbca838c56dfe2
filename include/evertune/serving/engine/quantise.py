"""8-bit weights and activations with scales that are fixed beforehand, so that no text changes another one's answer.

What onnxruntime's own dynamic quantisation does is to give all activations of a batch one scale, found anew at every
call. A transformer has a few channels that are a hundred times as large as the others, so that scale is coarse, and
each text's answer hangs on what else is in its batch: seen, probabilities that moved by 0.44, and 98.1% equal labels.

Here the ranges are measured once, on the release's own rows, channel by channel, and the large channels' size moves
from the activations into the weights (SmoothQuant, Xiao et al. 2022, arXiv 2211.10438), where every output has a scale
of its own. Looking for a range at every call falls away as well.

A few products bear no 8 bits, mostly the narrowing ones of the first layers, whose inputs are hardly ever large. Theirs
get 16: what the first 8 leave over is quantised once more, by a scale 255 times as fine, and multiplied with the same
weights. Two integer products cost a third to a half of one in 32 bits.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.serving.engine.session import INPUTS, padded

if TYPE_CHECKING:
    from onnx import GraphProto, ModelProto, NodeProto

Array = NDArray[np.float32]
DOMAIN, ATTENTION = "com.microsoft", "Attention"
REST = 255
"""Steps of the second part of an input to one of the first."""
STRENGTHS = (0.6, 0.7, 0.8, 0.85, 0.9, 0.95)
"""SmoothQuant's alpha, how much of a channel's size moves into the weights: each product gets what errs least."""
SAMPLED = 1024
"""Tokens of each product's input on which errors are measured."""


class Range(NamedTuple):
    """What a node's input was, over all calibration rows: ``[channels]`` each."""

    low: Array
    high: Array
    sample: Array
    """``[tokens, channels]``: some of the inputs themselves."""

    @property
    def size(self) -> Array:
        """Largest magnitude of each channel."""
        return np.maximum(np.abs(self.low), np.abs(self.high))


class _Site(NamedTuple):
    """A matrix product whose weights are known."""

    node: NodeProto
    input: str
    weights: Array
    """``[channels, outputs]``."""


class Quantised(NamedTuple):
    """A product in 8 bits: ``x * smooth`` is quantised by ``scale`` and ``zero``, the weights by a scale an output."""

    smooth: Array
    scale: np.float32
    zero: np.uint8
    weights: NDArray[np.int8]
    scales: Array
    finer: bool
    """Whether the input has 16 bits, in two parts."""
    error: float
    """Mean square of what each output is off, relative to its own, over the outputs: measured on the sample. Of each
    by itself, because a few outputs are so large that they would hide what becomes of all others."""


def calibrate(exact: Path, rows: Sequence[Sequence[int]], filler: int) -> dict[str, Range]:
    """The range of every product's input, measured by the 32-bit graph on ``rows``, one by one: padding is no text."""
    import onnx
    import onnxruntime

    model = onnx.load(str(exact))
    names = list(dict.fromkeys(site.input for site in _sites(model)))
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    found: dict[str, Range] = {}
    per_row, chance = max(1, SAMPLED // len(rows)), np.random.default_rng(17)
    for row in rows:
        values = session.run(names, dict(zip(INPUTS, padded([row], filler), strict=True)))
        for name, value in zip(names, values, strict=True):
            flat = value.reshape(-1, value.shape[-1])
            # The first token is what the head reads, and often the odd one of its row.
            picked = [0, *chance.choice(len(flat), min(per_row, len(flat)) - 1, replace=False)]
            found[name] = _wider(found.get(name), flat, flat[picked])
    return found


def _wider(before: Range | None, flat: Array, sample: Array) -> Range:
    if before is None:
        return Range(flat.min(0), flat.max(0), sample)
    low, high = np.minimum(before.low, flat.min(0)), np.maximum(before.high, flat.max(0))
    return Range(low, high, np.concatenate([before.sample, sample])[:SAMPLED])


def plan(exact: Path, ranges: dict[str, Range]) -> dict[str, Quantised]:
    """Each product's node and what it becomes in 8 bits; those that 8 bits harm most come first."""
    import onnx

    made = {site.node.name: _quantised(site.weights, ranges[site.input]) for site in _sites(onnx.load(str(exact)))}
    return dict(sorted(made.items(), key=lambda item: -item[1].error))


def refined(exact: Path, ranges: dict[str, Range], planned: dict[str, Quantised], count: int) -> dict[str, Quantised]:
    """The plan with 16 bits for the inputs of its first ``count`` products. Of those, attention stays in 32 bits."""
    import onnx

    made = dict(list(planned.items())[count:])
    for site in _sites(onnx.load(str(exact))):
        if site.node.name not in made and site.node.op_type != ATTENTION:  # its operator in 8 bits knows no parts
            made[site.node.name] = _quantised(site.weights, ranges[site.input], finer=True)
    return made


def write(exact: Path, to: Path, planned: dict[str, Quantised]) -> None:
    """Write the graph with these products in 8 bits. Raises :class:`ValueError` where there are none."""
    import onnx

    if not planned:
        raise ValueError("the graph has no products with constant weights")
    model = onnx.load(str(exact))
    made = {site.node.name: (site, planned[site.node.name]) for site in _sites(model) if site.node.name in planned}
    graph = model.graph
    biased = _biased(graph, [site for site, _ in made.values()])
    taken_in = [id(add) for add in biased.values()]
    nodes: list[NodeProto] = []
    for node in graph.node:
        if node.name in made:
            nodes += _replaced(graph, *made[node.name], biased.get(node.output[0]))
        elif id(node) not in taken_in:
            nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)
    _drop_unused(graph)
    if not any(one.domain == DOMAIN for one in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid(DOMAIN, 1))
    onnx.save(model, str(to))


def _sites(model: ModelProto) -> list[_Site]:
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        known = node.op_type in {"MatMul", ATTENTION} and node.name
        if not known or len(node.input) < 2 or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        if weights.ndim == 2 and weights.dtype == np.float32 and node.input[0] not in constants:
            found.append(_Site(node, node.input[0], weights))
    return found


def _biased(graph: GraphProto, sites: Sequence[_Site]) -> dict[str, NodeProto]:
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


def _quantised(weights: Array, known: Range, *, finer: bool = False) -> Quantised:
    """The product in 8 bits by the smoothing that errs least on the sample."""
    wanted = known.sample @ weights
    found = (_smoothed(weights, known, strength, wanted, finer) for strength in STRENGTHS)
    return min(found, key=lambda one: one.error)


def _smoothed(weights: Array, known: Range, strength: float, wanted: Array, finer: bool) -> Quantised:
    moved = np.maximum(known.size, 1e-5) ** strength / np.maximum(np.abs(weights).max(1), 1e-5) ** (1 - strength)
    smooth = (np.exp(np.log(moved).mean()) / moved).astype(np.float32)
    low, high = min(0.0, float((known.low * smooth).min())), max(0.0, float((known.high * smooth).max()))
    scale = np.float32(max(high - low, 1e-8) / 255)
    zero = np.uint8(np.clip(np.rint(-low / scale), 0, 255))
    smoothed = weights / smooth[:, None]
    scales = (np.maximum(np.abs(smoothed).max(0), 1e-8) / 127).astype(np.float32)
    whole = np.clip(np.rint(smoothed / scales), -127, 127).astype(np.int8)
    exact = known.sample * smooth / scale
    steps = np.clip(np.rint(exact) + zero, 0, 255) - np.float32(zero)
    if finer:
        steps += np.clip(np.rint((exact - steps) * REST), -128, 127) / np.float32(REST)
    found = (steps.astype(np.float32) @ whole.astype(np.float32)) * (scale * scales)
    off = np.square(found - wanted).mean(0) / (np.square(wanted).mean(0) + 1e-12)
    error = float(off.mean())
    return Quantised(smooth, scale, zero, whole, scales, finer, error)


def _replaced(graph: GraphProto, site: _Site, made: Quantised, biased: NodeProto | None) -> list[NodeProto]:
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


def _drop_unused(graph: GraphProto) -> None:
    used = {name for node in graph.node for name in node.input}
    kept = [tensor for tensor in graph.initializer if tensor.name in used]
    del graph.initializer[:]
    graph.initializer.extend(kept)
