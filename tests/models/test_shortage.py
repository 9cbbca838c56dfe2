"""A want of memory is told, by whomever it is met; another fault is not taken for one."""

from __future__ import annotations

import errno
from collections.abc import Callable

import numpy as np
import onnxruntime
import pyarrow as pa
import pytest
import torch
from onnx import TensorProto, helper

from evertune.models import shortage
from evertune.records import EvertuneError, UnfitError


def onnx_runtime(*, arena: bool) -> None:
    """As a session fails that has to compute too much."""
    graph = helper.make_graph(
        [helper.make_node("ConstantOfShape", ["shape"], ["filled"])], "too_large",
        [helper.make_tensor_value_info("shape", TensorProto.INT64, [1])],
        [helper.make_tensor_value_info("filled", TensorProto.FLOAT, None)],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    options = onnxruntime.SessionOptions()
    options.enable_cpu_mem_arena, options.log_severity_level = arena, 4
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    session.run(None, {"shape": np.array([1 << 50], np.int64)})


def on_a_gpu() -> None:
    """As CUDA says it, which a machine without cannot be made to."""
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nOf the rest 3 GiB")


@pytest.mark.parametrize(
    "hungry",
    [
        lambda: torch.empty(1 << 60, dtype=torch.uint8),
        lambda: np.empty(1 << 60, np.uint8),
        lambda: pa.allocate_buffer(1 << 60),
        lambda: onnx_runtime(arena=True),
        lambda: onnx_runtime(arena=False),
        on_a_gpu,
    ],
)
def test_whoever_computes_too_much_is_told_with_advice(hungry: Callable[[], object]) -> None:
    ways = [*shortage.shorter(128), shortage.LARGER]
    advice = r"ran out while it was tried \(.+\)\. To make it fit: .* below 128; choose a"
    with pytest.raises(UnfitError, match=advice), shortage.told("it was tried", lambda: ways):
        hungry()


def test_it_is_one_sentence_that_asks_for_no_retry() -> None:
    with pytest.raises(UnfitError) as caught, shortage.told("it was tried", lambda: ["do less"]):
        on_a_gpu()
    assert "Of the rest" not in str(caught.value)
    assert not caught.value.retry


def test_rows_that_are_short_are_not_to_be_cut() -> None:
    assert shortage.shorter(64) == []


@pytest.mark.parametrize("fault", [RuntimeError("shapes"), EvertuneError("the file out of memory.csv is not there")])
def test_another_fault_is_no_want_of_memory(fault: Exception) -> None:
    with pytest.raises(type(fault), match=str(fault)), shortage.told("it was tried", lambda: ["do less"]):
        raise fault


def test_advice_that_there_is_no_memory_for_is_left_out() -> None:
    def ways() -> list[str]:
        raise MemoryError

    with pytest.raises(UnfitError, match=shortage.LARGER), shortage.told("it was tried", ways):
        raise MemoryError


def test_a_files_name_is_no_want_of_memory() -> None:
    fault = FileNotFoundError(errno.ENOENT, "No such file", "/data/out of memory.csv")
    with pytest.raises(FileNotFoundError), shortage.told("it was tried", lambda: ["do less"]):
        raise fault
    with pytest.raises(UnfitError), shortage.told("it was tried", lambda: ["do less"]):
        raise OSError(errno.ENOMEM, "Cannot allocate memory")
