from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

from evertune.serving.engine.graphs import plain


def _graph(path: Path, *, bias: bool, outputs: int = 1) -> None:
    chance = np.random.default_rng(3)
    constants = {name: chance.normal(size=8).astype(np.float32) for name in ("gain", "offset", "bias")}
    names = ["normed", "", "", "summed"][:outputs]
    norm = helper.make_node(
        plain.NORM, ["x", "skip", "gain", "offset", *(["bias"] if bias else [])], names, epsilon=1e-5,
        domain="com.microsoft",
    )  # fmt: skip
    gelu = helper.make_node(plain.GELU, ["normed", "bias"], ["y"], domain="com.microsoft")
    shape = ["rows", "length", 8]
    graph = helper.make_graph(
        [norm, gelu], "layer",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name in ("x", "skip")],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, shape)],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=8), path)


def _run(path: Path) -> Any:
    chance = np.random.default_rng(5)
    given = {name: (9 * chance.normal(size=(3, 4, 8))).astype(np.float32) for name in ("x", "skip")}
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return session.run(["y"], given)[0]


@pytest.mark.parametrize("bias", [True, False])
def test_the_numbers_stay_the_same(tmp_path: Path, bias: bool) -> None:
    _graph(tmp_path / "one.onnx", bias=bias)
    before = _run(tmp_path / "one.onnx")
    plain.take_apart(tmp_path / "one.onnx")
    kinds = [node.op_type for node in onnx.load(tmp_path / "one.onnx").graph.node]
    assert kinds == ["Add", *(["Add"] if bias else []), "LayerNormalization", "Add", "Gelu"]
    np.testing.assert_allclose(_run(tmp_path / "one.onnx"), before, atol=1e-5)


def test_one_whose_sum_is_read_elsewhere_stays(tmp_path: Path) -> None:
    _graph(tmp_path / "two.onnx", bias=True, outputs=4)
    plain.take_apart(tmp_path / "two.onnx")
    assert plain.NORM in {node.op_type for node in onnx.load(tmp_path / "two.onnx").graph.node}
