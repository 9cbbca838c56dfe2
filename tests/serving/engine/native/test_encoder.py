"""The code for matrix units against torch: numbers of all shapes, and nothing from rows that are not there."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.serving.engine.native import fit

from evertune import files
from evertune.models import forward
from evertune.records import EvertuneError
from evertune.serving.engine import trial
from evertune.serving.engine.native import encoder, machine
from evertune.serving.engine.native.encoder import AmxModel

pytestmark = fit.needs_matrix_units

SHAPES = {
    "as MiniLM": {},
    "wide heads": {"hidden_size": 128, "intermediate_size": 160},
    "one head": {"num_attention_heads": 1},
    "one layer": {"num_hidden_layers": 1},
    "many labels": {"num_labels": 77},
    "one label": {"num_labels": 1},
}


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, AmxModel]:
    network = fit.network()
    return network, AmxModel(fit.engine(network, tmp_path_factory.mktemp("engine")))


def wanted(network: Any, rows: list[list[int]]) -> list[np.ndarray[Any, Any]]:
    with torch.inference_mode():
        return [found.numpy() for found in forward.both(network, rows, forward.BEFORE_LAST)]


def assert_near(found: tuple[Any, Any], network: Any, rows: list[list[int]]) -> None:
    for one, other in zip(found, wanted(network, rows), strict=True):
        assert one.shape == other.shape
        np.testing.assert_allclose(one, other, atol=0.03 * max(1.0, float(np.abs(other).max())))


@pytest.mark.parametrize("name", SHAPES)
def test_each_shape_answers_as_torch_does(name: str, tmp_path: Path) -> None:
    network = fit.network(**SHAPES[name])
    model = AmxModel(fit.engine(network, tmp_path))
    for lengths in ([1], [fit.POSITIONS], [15, 16, 17], [31, 32, 33, 1, 2], [*range(1, 40)]):
        rows = fit.rows(lengths)
        assert_near(model.run(rows), network, rows)


@settings(deadline=None, max_examples=60)
@given(lengths=st.lists(st.integers(1, fit.POSITIONS), min_size=1, max_size=24), seed=st.integers(0, 99))
def test_a_text_has_the_same_answer_in_every_company(
    plain: tuple[Any, AmxModel], lengths: list[int], seed: int
) -> None:
    network, model = plain
    rows = fit.rows(lengths, seed)
    together = model.run(rows)
    assert_near(together, network, rows)
    for place in {0, len(rows) - 1}:
        for one, other in zip(model.run([rows[place]], alone=True), together, strict=True):
            np.testing.assert_array_equal(one[0], other[place])


def test_what_lay_in_memory_before_is_in_no_answer(
    plain: tuple[Any, AmxModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = plain
    rows = fit.rows([1, 17, 40, 2])
    before = model.run(rows)
    for filler in (0xFF, 0x7F):  # not numbers, and the largest ones
        monkeypatch.setattr(encoder._KEEPER, "memory", np.full(1 << 22, filler, np.uint8))
        for one, other in zip(model.run(rows), before, strict=True):
            np.testing.assert_array_equal(one, other)


def test_nothing_is_written_beside_what_was_given(plain: tuple[Any, AmxModel], monkeypatch: pytest.MonkeyPatch) -> None:
    _, model = plain
    for lengths in ([1], [fit.POSITIONS], [33, 5, 17], [2] * 65):
        given: list[np.ndarray[Any, Any]] = []

        def guarded(size: int, given: list[np.ndarray[Any, Any]] = given) -> np.ndarray[Any, Any]:
            whole = np.full(size + 8192, 0xA5, np.uint8)
            start = 4096 + -(whole.ctypes.data + 4096) % 64
            given[:] = [whole[:start], whole[start + size :]]
            return whole[start : start + size]

        monkeypatch.setattr(encoder, "_memory", guarded)
        model.run(fit.rows(lengths))
        assert all((part == 0xA5).all() for part in given)


def test_threads_share_a_model(plain: tuple[Any, AmxModel]) -> None:
    _, model = plain
    batches = [fit.rows([1 + number % 40, 30], number) for number in range(64)]
    before = [model.run(batch) for batch in batches]
    with ThreadPoolExecutor(4) as pool:
        for found, other in zip(pool.map(model.run, batches), before, strict=True):
            np.testing.assert_array_equal(found[0], other[0])


def test_a_thread_keeps_no_more_than_a_large_batch_needs(
    plain: tuple[Any, AmxModel], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, model = plain
    kept: list[int] = []

    def computed() -> None:
        model.run(fit.rows([30]))
        kept.append(encoder._KEEPER.memory.size)
        monkeypatch.setattr(encoder, "_KEPT", kept[0] + 1)
        model.run(fit.rows([60] * 100))
        kept.append(encoder._KEEPER.memory.size)

    thread = threading.Thread(target=computed)
    thread.start()
    thread.join()
    assert 0 < kept[0] == kept[1]


@pytest.mark.parametrize(
    "rows", [[], [[]], [[1], []], [[1] * (fit.POSITIONS + 1)], [[-1]], [[1, fit.VOCABULARY]], [[1 << 31]], [[[1], [2]]]]
)
def test_what_the_code_would_read_beyond_is_refused(plain: tuple[Any, AmxModel], rows: list[list[int]]) -> None:
    with pytest.raises((ValueError, OverflowError)):
        plain[1].run(rows)


@pytest.mark.parametrize("change", [-64, 64])
def test_weights_that_do_not_fit_their_shape_are_refused(tmp_path: Path, change: int) -> None:
    folder = fit.engine(fit.network(), tmp_path)
    weights = folder / "weights.bin"
    content = weights.read_bytes()
    weights.write_bytes(content[:change] if change < 0 else content + bytes(change))
    with pytest.raises(files.CorruptError, match="does not fit its shape"):
        AmxModel(folder)


def test_on_another_processor_it_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = fit.engine(fit.network(), tmp_path)
    monkeypatch.setattr(machine, "fault", lambda: "the processor has no amx_tile")
    with pytest.raises(EvertuneError, match="the processor has no amx_tile"):
        AmxModel(folder)


def test_a_wrong_number_is_seen(tmp_path: Path) -> None:
    network, other = fit.network(), fit.network(seed=1)
    model = AmxModel(fit.engine(network, tmp_path))
    rows = fit.rows([5, 9, 30])
    assert trial.difference(fit.Reference(network), model, rows) < 0.02
    assert trial.difference(fit.Reference(other), model, rows) > 0.2
