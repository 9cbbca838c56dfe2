from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from tests.models import tiny

from evertune.serving.engine.graphs import integers, quantise
from evertune.serving.engine.served import MODEL, in_batches
from evertune.serving.engine.session import INPUTS, OnnxModel, padded


@pytest.fixture(scope="module")
def int8(fp32_engine: Path, tmp_path_factory: pytest.TempPathFactory) -> OnnxModel:
    to = tmp_path_factory.mktemp("int8") / MODEL
    ranges = quantise.calibrate(fp32_engine / MODEL, tiny.rows(60, seed=1), 0)
    planned = quantise.plan(fp32_engine / MODEL, ranges)
    errors = [one.error for one in planned.values()]
    assert errors == sorted(errors, reverse=True)
    integers.write(fp32_engine / MODEL, to, planned)
    kinds = [node.op_type for node in onnx.load(to).graph.node]
    # Of two layers with four products each the last has two for its attention: see test_first.
    assert (kinds.count("QAttention"), kinds.count("MultiHeadAttention")) == (1, 1)
    assert kinds.count("MatMulIntegerToFloat") == 8
    assert not {"DynamicQuantizeLinear", "MatMul", "Attention"} & set(kinds)
    # No sums but those of residuals: the products have their biases in them.
    assert kinds.count("Add") == kinds.count("LayerNormalization") == 4
    assert to.stat().st_size < (fp32_engine / MODEL).stat().st_size
    return OnnxModel(to, 0)


def test_8_bits_answer_nearly_as_32(fp32_engine: Path, int8: OnnxModel) -> None:
    rows = tiny.rows(100, seed=2)
    exact, fast = in_batches(OnnxModel(fp32_engine / MODEL, 0), rows, 256), in_batches(int8, rows, 256)
    assert (exact[0].argmax(1) == fast[0].argmax(1)).mean() >= 0.97
    for one, other in zip(exact, fast, strict=True):
        assert np.square(one - other).mean() < 0.01 * np.square(one).mean()


def test_16_bits_for_an_input_err_less_and_answer_all_the_same(fp32_engine: Path, tmp_path: Path) -> None:
    exact = fp32_engine / MODEL
    ranges = quantise.calibrate(exact, tiny.rows(60, seed=1), 0)
    planned = quantise.plan(exact, ranges)
    refined = quantise.refined(exact, ranges, planned, len(planned), planned)
    products = {name for name in planned if name in refined}
    assert len(planned) - len(products) == 1, "attention stays in 32 bits"
    assert all(refined[name].finer for name in products)
    ratios = {name: refined[name].error / planned[name].error for name in products}
    assert max(ratios.values()) < 1
    # What is left is the weights' own 8 bits: of the last layer's single tokens, some 60 here, that may be most.
    of_all_tokens = [name for name in products if "layer.0" in name or name.endswith(".keys_and_values")]
    assert len(of_all_tokens) == 4
    assert all(ratios[name] < 0.7 for name in of_all_tokens)
    most = min((name for name in products if "layer.0" in name), key=lambda name: ratios[name])
    none = quantise.refined(exact, ranges, planned, 0, planned)
    assert list(none) == list(planned)
    assert not any(one.finer for one in none.values())
    some = quantise.refined(exact, ranges, planned, 3, none)
    assert sum(one.finer for one in some.values()) in (2, 3)
    all_ = quantise.refined(exact, ranges, planned, len(planned), some)
    assert all_.keys() == refined.keys()
    assert all(all_[name] is one for name, one in some.items() if one.finer), "what was worked out is not again"

    off, wanted = [], _sums(exact, exact, most)
    for name, plan in (("coarse", planned), ("fine", refined)):
        integers.write(exact, tmp_path / name, {most: plan[most]})
        off.append(float(np.square(_sums(tmp_path / name, exact, most) - wanted).mean()))
    assert off[1] < 0.7 * off[0], "the graph does what the plan says"


def _sums(path: Path, exact: Path, product: str) -> Any:
    """What the graph has for the product, with its bias, of some rows."""
    graph = onnx.load(exact).graph
    output = next(node.output[0] for node in graph.node if node.name == product)
    name = next(node.output[0] for node in graph.node if node.op_type == "Add" and output in node.input)
    model = onnx.load(path)
    model.graph.output.append(onnx.ValueInfoProto(name=name))
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    ids, mask = padded(tiny.rows(100, longest=9, seed=2), 0)
    return session.run([name], dict(zip(INPUTS, (ids, mask), strict=True)))[0][mask > 0]


def test_no_text_changes_another_ones_answer(int8: OnnxModel) -> None:
    rows = tiny.rows(50, longest=40, seed=3)
    alone = np.concatenate([int8.run([row])[0] for row in rows])
    np.testing.assert_allclose(int8.run(rows)[0], alone, atol=1e-5)
    np.testing.assert_allclose(int8.run(rows[::-1])[0][::-1], alone, atol=1e-5)


def test_a_large_channel_does_not_make_the_others_coarse() -> None:
    chance = np.random.default_rng(0)
    sample = chance.normal(size=(400, 64)).astype(np.float32)
    sample[:, 7] *= 200
    weights = chance.normal(size=(64, 16)).astype(np.float32)
    weights[7] /= 200  # as training leaves them: what is large is weighed down
    made = quantise._quantised(weights, quantise.Range(sample.min(0), sample.max(0), sample))
    assert made.error < 1e-3
    step = np.abs(sample).max() / 127
    plain = np.rint(sample / step) * step @ weights
    assert np.square(plain - sample @ weights).mean() / np.square(sample @ weights).mean() > 20 * made.error


def test_channels_that_are_always_zero_do_no_harm() -> None:
    nothing = np.zeros((10, 4), np.float32)
    made = quantise._quantised(nothing[:4], quantise.Range(nothing[0], nothing[0], nothing))
    assert np.isfinite(made.smooth).all()
    assert np.isfinite(made.scales).all()
    assert made.error == 0
