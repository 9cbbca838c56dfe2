from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import ModelProto, numpy_helper
from tests.models import tiny

from evertune.models import forward
from evertune.serving.engine.graphs import export, first, nodes
from evertune.serving.engine.session import OnnxModel


@pytest.fixture(scope="module")
def graphs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """The exported model, by the states that its embeddings are made of."""
    folder = tmp_path_factory.mktemp("graphs")
    made = {states: folder / f"{-states}.onnx" for states in (forward.LAST, forward.BEFORE_LAST)}
    for states, path in made.items():
        export.to_onnx(tiny.classifier(), path, states)
    return made


def _kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


def test_a_layer_of_which_one_token_is_read_computes_that_one(graphs: dict[int, Path]) -> None:
    kinds = _kinds(graphs[forward.BEFORE_LAST])
    assert (kinds.count("Attention"), kinds.count("MultiHeadAttention"), kinds.count("Slice")) == (1, 1, 2)
    kinds = _kinds(graphs[forward.LAST])
    assert (kinds.count("Attention"), kinds.count("MultiHeadAttention")) == (2, 0)


@pytest.mark.parametrize("states", [forward.LAST, forward.BEFORE_LAST])
@pytest.mark.parametrize("longest", [2, 4, 30])
def test_the_numbers_are_those_of_the_model(graphs: dict[int, Path], states: int, longest: int) -> None:
    rows = tiny.rows(12, longest=longest)
    with torch.inference_mode():
        wanted = forward.both(tiny.classifier(), rows, states)
    for one, other in zip(OnnxModel(graphs[states], 0).run(rows), wanted, strict=True):
        np.testing.assert_allclose(one, other.numpy(), atol=1e-5)


def _another_token(model: ModelProto) -> None:
    gather = next(node for node in model.graph.node if node.op_type == "Gather" and "pooler" in node.name)
    model.graph.initializer.append(numpy_helper.from_array(np.array(1), "second"))
    gather.input[1] = "second"


def _read_elsewhere(model: ModelProto) -> None:
    norms = [node for node in model.graph.node if node.op_type == "LayerNormalization"]
    model.graph.output.extend([onnx.ValueInfoProto(name=norms[-1].output[0])])


def _mixing_tokens(model: ModelProto) -> None:
    last = [node for node in model.graph.node if node.op_type == "Gelu"][-1]
    last.op_type, last.domain = "Softmax", ""


def _by_place(model: ModelProto) -> None:
    gelu = next(node for node in reversed(model.graph.node) if node.op_type == "Gelu")
    model.graph.initializer.append(numpy_helper.from_array(np.ones((1, 5, 1), np.float32), "places"))
    gelu.op_type, gelu.domain = "Add", ""
    gelu.input.append("places")


def _no_attention(model: ModelProto) -> None:
    for node in model.graph.node:
        if node.op_type == nodes.ATTENTION:
            node.op_type = "Unknown"


@pytest.mark.parametrize("change", [_another_token, _read_elsewhere, _mixing_tokens, _by_place, _no_attention])
def test_one_of_which_more_is_read_stays(tmp_path: Path, change: object, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(first, "narrow", lambda _path: False)
        export.to_onnx(tiny.classifier(), tmp_path / "whole.onnx", forward.BEFORE_LAST)
    model = onnx.load(tmp_path / "whole.onnx")
    assert callable(change)
    change(model)
    onnx.save(model, tmp_path / "whole.onnx")
    before = (tmp_path / "whole.onnx").read_bytes()
    assert not first.narrow(tmp_path / "whole.onnx")
    assert (tmp_path / "whole.onnx").read_bytes() == before
