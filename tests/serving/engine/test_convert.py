"""Every architecture that a bundle may have becomes an engine that answers as the model does."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import transformers
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper
from tests.models import tiny
from tests.serving.engine import made
from tests.serving.engine.native import fit

from evertune import files
from evertune.models import bundle, classifier, devices
from evertune.records import EvertuneError
from evertune.serving.engine import compare, convert, trial
from evertune.serving.engine.graphs import export, integers, quantise
from evertune.serving.engine.native import encoder, machine, weights
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import MODEL, REPORT, load

SIZES: dict[str, Any] = {
    "vocab_size": 128, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64,
    "max_position_embeddings": 66, "num_labels": 2,
}  # fmt: skip
OTHERS: dict[str, tuple[Any, dict[str, Any]]] = {
    "albert": (transformers.AlbertConfig, {"embedding_size": 16}),
    "camembert": (transformers.CamembertConfig, {"pad_token_id": 1, "type_vocab_size": 1}),
    "deberta-v2": (transformers.DebertaV2Config, {"relative_attention": True, "pos_att_type": ["p2c", "c2p"]}),
    "distilbert": (transformers.DistilBertConfig, {"dim": 32, "hidden_dim": 64, "n_layers": 2, "n_heads": 2}),
    "electra": (transformers.ElectraConfig, {"embedding_size": 16}),
    "modernbert": (transformers.ModernBertConfig, {"pad_token_id": 0, "bos_token_id": 2, "eos_token_id": 3,
                                                   "cls_token_id": 2, "sep_token_id": 3}),
    "mpnet": (transformers.MPNetConfig, {"pad_token_id": 1}),
    "roberta": (transformers.RobertaConfig, {"pad_token_id": 1, "type_vocab_size": 1}),
    "xlm-roberta": (transformers.XLMRobertaConfig, {"pad_token_id": 1, "type_vocab_size": 1}),
}  # fmt: skip

UNFUSED = {"deberta-v2", "modernbert", "mpnet"}
"""Those whose attention onnxruntime does not fuse."""


def network(kind: str) -> Any:
    made, changes = OTHERS[kind]
    torch.manual_seed(0)
    model = transformers.AutoModelForSequenceClassification.from_config(made(**{**SIZES, **changes}))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model.eval()


def converted(
    folder: Path, model: Any, base: Path, checks: Path | None, loss: float = 1.0, **how: bool
) -> EngineReport:
    digest = bundle.write(folder / "bundle", model, base, tiny.LABELS, 32)
    (folder / "engine").mkdir()
    report = convert.convert(folder / "bundle", digest, checks, loss, folder / "engine", **how)
    assert files.read_json(folder / "engine" / REPORT)["kind"] == report.kind
    assert (folder / "engine" / MODEL).exists() is report.kind.startswith("onnx")
    assert sorted(path.name for path in folder.iterdir()) == ["bundle", "engine"], "no scratch is left"
    return report


def test_a_conversion_takes_no_memory_of_a_gpu(
    tmp_path: Path, shared_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def taken() -> torch.device:
        raise AssertionError("it asked for the best device")

    monkeypatch.setattr(devices, "best", taken)
    report = convert.convert(shared_bundle, files.digest(shared_bundle), None, 1.0, tmp_path)
    assert report.kind == "onnx-fp32"


@pytest.mark.integration
@pytest.mark.parametrize("kind", sorted(OTHERS))
def test_each_architecture_gets_an_engine(kind: str, tmp_path: Path, base: Path, checks: Path) -> None:
    report = converted(tmp_path, network(kind), base, checks)
    assert report.kind in {"onnx-int8", "onnx-fp32"}, report
    assert report.difference is not None
    assert report.difference < 1e-4
    operators = [node.op_type for node in onnx.load(tmp_path / "engine" / MODEL, load_external_data=False).graph.node]
    assert operators.count("MultiHeadAttention") == (kind not in UNFUSED), "the last layer computes one token"


def test_numbers_that_are_none_are_a_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    model, odd = made.Sums(), made.Sums()
    monkeypatch.setattr(odd, "run", lambda rows, **_: (np.full((len(rows), 2), np.nan), np.ones((len(rows), 1))))
    assert np.isnan(trial.difference(model, odd, [[1, 2]]))
    assert trial.difference(model, made.Sums(), [[1, 2]]) == 0


def test_without_check_rows_nothing_is_risked(tmp_path: Path, base: Path) -> None:
    report = converted(tmp_path, tiny.classifier(), base, None)
    assert (report.kind, report.rows, report.agreement) == ("onnx-fp32", 0, None)
    assert "no check rows" in report.reason


@given(st.integers(0, 3000))
def test_8_bits_are_judged_on_rows_that_they_were_not_fitted_to(rows: int) -> None:
    ids = [[number] for number in range(rows)]
    parts = convert.Parts.of(trial.Rows(ids, np.arange(rows), 2))
    assert sorted([*parts.fitted, *parts.judged.ids]) == ids
    assert [number for (number,) in parts.judged.ids] == parts.judged.truth.tolist()
    assert len(parts.fitted) <= min(convert.CALIBRATION_ROWS, 1 + len(parts.judged.ids))


def test_one_check_row_is_too_few(tmp_path: Path, base: Path) -> None:
    pq.write_table(pa.table({"text": ["good"], "truth": [1]}), tmp_path / "checks.parquet")
    (tmp_path / "to").mkdir()
    report = converted(tmp_path / "to", tiny.classifier(), base, tmp_path / "checks.parquet")
    assert (report.kind, report.rows) == ("onnx-fp32", 0)
    assert "too few check rows" in report.reason


def test_what_is_fitted_to_is_not_what_is_judged_on(
    tmp_path: Path, base: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fitted: list[list[list[int]]] = []
    calibrate, compared = quantise.calibrate, compare.compare

    def calibrated(exact: Path, ids: list[list[int]], filler: int) -> Any:
        fitted.append(ids)
        return calibrate(exact, ids, filler)

    def judged(truth: Any, *rest: Any) -> Any:
        assert len(truth) + len(fitted[0]) == pq.read_metadata(checks).num_rows
        return compared(truth, *rest)

    monkeypatch.setattr(quantise, "calibrate", calibrated)
    monkeypatch.setattr(compare, "compare", judged)
    assert converted(tmp_path, tiny.classifier(), base, checks).kind == "onnx-int8"


@pytest.mark.parametrize("part_only", [False, True])
def test_8_bits_that_lose_too_much_are_not_taken(
    tmp_path: Path, base: Path, checks: Path, monkeypatch: pytest.MonkeyPatch, part_only: bool
) -> None:
    write = integers.write

    def spoilt(exact: Path, to: Path, planned: dict[str, quantise.Quantised]) -> None:
        write(exact, to, planned)
        if part_only and any(one.finer for one in planned.values()):
            return
        model = onnx.load(to)
        for tensor in model.graph.initializer:
            if tensor.name.endswith("classifier.weight"):
                tensor.CopyFrom(numpy_helper.from_array(-numpy_helper.to_array(tensor), tensor.name))
        onnx.save(model, to)

    monkeypatch.setattr(integers, "write", spoilt)
    report = converted(tmp_path, tiny.classifier(), base, checks)
    if part_only:
        assert (report.kind, "8 bits in all 9 matrix products, 16 for 2 inputs" in report.reason) == ("onnx-int8", True)
        return
    assert report.kind == "onnx-fp32"
    assert "keep their label" in report.reason
    assert report.agreement is not None
    assert report.agreement < 0.99


def test_what_does_not_export_runs_in_torch(
    tmp_path: Path, base: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise RuntimeError("no such operator")

    monkeypatch.setattr(export, "to_onnx", unsupported)
    report = converted(tmp_path, tiny.classifier(), base, checks)
    assert report.kind == "torch"
    assert "does not export" in report.reason


def test_a_graph_that_answers_otherwise_is_not_taken(
    tmp_path: Path, base: Path, checks: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    to_onnx = export.to_onnx
    monkeypatch.setattr(export, "to_onnx", lambda _, *rest: to_onnx(tiny.classifier(seed=1), *rest))
    report = converted(tmp_path, tiny.classifier(), base, checks)
    assert report.kind == "torch"
    assert "differ" in report.reason


@fit.needs_matrix_units
def test_a_model_that_fills_the_tiles_runs_in_own_code(tmp_path: Path, base: Path, checks: Path) -> None:
    report = converted(tmp_path, fit.network(), base, checks)
    assert (report.kind, report.rows, report.neighbours) == ("amx-bf16", pq.read_metadata(checks).num_rows, 0.0)
    assert report.agreement is not None
    assert report.agreement >= 0.99
    assert report.difference is not None
    assert 0 < report.difference < convert.NEAR
    digest = files.seal(tmp_path / "engine") and files.digest(tmp_path / "bundle")
    one = load(tmp_path / "bundle", digest, tmp_path / "engine", made.release(digest=digest), {})
    texts = ["good", "", "a bad film " * 20]
    reference = classifier.load(tmp_path / "bundle")
    answers = one.answer(texts)
    np.testing.assert_allclose([each.scores for each in answers], reference.probabilities(texts), atol=0.03)
    np.testing.assert_allclose([each.embedding for each in answers], reference.embeddings(texts), atol=0.05)


@fit.needs_matrix_units
def test_a_portable_engine_has_no_own_code(tmp_path: Path, base: Path, checks: Path) -> None:
    assert converted(tmp_path, fit.network(), base, checks, portable=True).kind.startswith("onnx")


def _other_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    write = weights.write
    monkeypatch.setattr(weights, "write", lambda _, folder: write(fit.network(seed=1), folder))


def _not_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        encoder.AmxModel,
        "run",
        lambda _, rows, **__: (np.full((len(rows), 2), np.nan), np.full((len(rows), 64), np.nan)),
    )


def _other_labels(monkeypatch: pytest.MonkeyPatch) -> None:
    # The 8-bit engine must still be taken, so only the first comparison asks for more than there can be.
    compared = trial.compared

    def worse(model: Any, *rest: Any) -> Any:
        found, neighbours = compared(model, *rest)
        return found._replace(agreement=0.98) if isinstance(model, encoder.AmxModel) else found, neighbours

    monkeypatch.setattr(trial, "compared", worse)


def _no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing() -> None:
        raise EvertuneError("no C compiler was found")

    monkeypatch.setattr(machine, "compiled", missing)


HARMS = {
    _other_weights: "in bf16 on the processor's matrix units: numbers differ by",
    _not_a_number: "in bf16 on the processor's matrix units: numbers differ by nan",
    _other_labels: "in bf16 on the processor's matrix units: only 98.0% of the check rows keep their label",
    _no_compiler: "the processor's matrix units could not be tried (no C compiler was found)",
}


@fit.needs_matrix_units
@pytest.mark.parametrize("harm", HARMS, ids=lambda harm: harm.__name__)
def test_own_code_that_answers_otherwise_is_not_taken(
    tmp_path: Path, base: Path, checks: Path, monkeypatch: pytest.MonkeyPatch, harm: Any
) -> None:
    harm(monkeypatch)
    report = converted(tmp_path, fit.network(), base, checks)
    assert report.kind.startswith("onnx")
    assert report.reason.startswith(HARMS[harm])
