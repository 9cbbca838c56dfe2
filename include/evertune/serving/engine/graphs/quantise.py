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

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.serving.engine.graphs.nodes import ATTENTION
from evertune.serving.engine.session import INPUTS, padded

if TYPE_CHECKING:
    from onnx import ModelProto, NodeProto

Array = NDArray[np.float32]
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


class Site(NamedTuple):
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
    names = list(dict.fromkeys(site.input for site in sites(model)))
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

    made = {site.node.name: _quantised(site.weights, ranges[site.input]) for site in sites(onnx.load(str(exact)))}
    return dict(sorted(made.items(), key=lambda item: -item[1].error))


def refined(
    exact: Path, ranges: dict[str, Range], planned: dict[str, Quantised], count: int, before: dict[str, Quantised]
) -> dict[str, Quantised]:
    """The plan with 16 bits for the inputs of its first ``count`` products. Of those, attention stays in 32 bits.

    Those of them that are finer ``before``, in the plan of a smaller count, are not worked out again.
    """
    import onnx

    done = {name: one for name, one in before.items() if one.finer}
    made = done | dict(list(planned.items())[count:])
    for site in sites(onnx.load(str(exact))):
        if site.node.name not in made and site.node.op_type != ATTENTION:  # its operator in 8 bits knows no parts
            made[site.node.name] = _quantised(site.weights, ranges[site.input], finer=True)
    return made


def sites(model: ModelProto) -> list[Site]:
    """The products of the graph that can be done in 8 bits."""
    from onnx import numpy_helper

    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    found = []
    for node in model.graph.node:
        known = node.op_type in {"MatMul", ATTENTION} and node.name
        if not known or len(node.input) < 2 or node.input[1] not in constants:
            continue
        weights = numpy_helper.to_array(constants[node.input[1]])
        if weights.ndim == 2 and weights.dtype == np.float32 and node.input[0] not in constants:
            found.append(Site(node, node.input[0], weights))
    return found


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
