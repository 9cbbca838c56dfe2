"""The conversion itself: ``python -m evertune.serving.engine.convert BUNDLE DIGEST OUT``, started by ``build``.

Verified safetensors become an ONNX graph with fused operators, and that one an 8-bit graph. What is kept is the
fastest of them that answers as the model does: the 32-bit graph is held to the torch model's logits, the 8-bit one to
the 32-bit one's labels and quality on the check rows. What cannot be exported runs in torch.
"""

from __future__ import annotations

import argparse
import logging
import os
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evertune import files
from evertune.models import bundle
from evertune.records import EvertuneError
from evertune.serving.engine import compare, served
from evertune.serving.engine.graphs import export, integers, quantise
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.sentences import SENTENCES
from evertune.serving.engine.served import Floats, Model, in_batches

CLOSE = 1e-4
"""Largest difference of a logit, relative to the largest logit where that is above 1, between torch and ONNX."""
EXACT_ROWS = 64
"""Rows on which torch and ONNX are compared: a wrong graph is wrong everywhere."""
CALIBRATION_ROWS = 256
"""Check rows on which the ranges of activations are measured, at most."""
CALIBRATED_EVERY = 4
"""At most one check row in so many is measured on; the comparison is on the others, which 8 bits have not seen."""
FINER = (0, 2, 4, 8)
"""Products whose inputs get 16 bits, those that 8 bits harm most: as few as will do."""
BATCH_TOKENS = 192
"""Batches of the comparison, as the batcher makes them."""
ALONE_ROWS = 128
"""Rows that are answered alone, too, to see what company changes."""


class Rows(NamedTuple):
    """What engines are compared on."""

    ids: list[list[int]]
    truth: compare.Labels | None


class Parts(NamedTuple):
    """Check rows apart: what 8 bits are fitted to, and what they are judged on."""

    fitted: list[list[int]]
    judged: list[list[int]]
    truth: compare.Labels
    """Of those that are judged on."""

    @classmethod
    def of(cls, ids: list[list[int]], truth: compare.Labels) -> Parts:
        """Every n-th row to fit to, all others to judge on."""
        step = max(CALIBRATED_EVERY, -(-len(ids) // CALIBRATION_ROWS))
        judged = np.flatnonzero(np.arange(len(ids)) % step)
        return cls(ids[::step], [ids[place] for place in judged], truth[judged])


class _Task(NamedTuple):
    """One conversion."""

    folder: Path
    digest: str
    rows: Rows
    allowed_loss: float
    scratch: Path

    @property
    def exact(self) -> Path:
        return self.scratch / "fp32.onnx"

    @property
    def fast(self) -> Path:
        return self.scratch / "int8.onnx"

    def open(self, path: Path) -> Model:
        """A session of its own."""
        from evertune.serving.engine.session import OnnxModel

        return OnnxModel(path, served.filler(self.folder))


def convert(folder: Path, digest: str, checks: Path | None, allowed_loss: float, out: Path) -> EngineReport:
    """Fill ``out`` with the engine (``model.onnx`` and its weights, but for kind ``torch``) and ``report.json``."""
    started = time.perf_counter()
    bundle.check(folder, digest)
    with tempfile.TemporaryDirectory(dir=out) as scratch:  # there, so that a kill leaves it to who made `out`
        task = _Task(folder, digest, _rows(folder, checks), allowed_loss, Path(scratch))
        report = _choose(task)
        if report.kind != "torch":
            export.place(task.fast if report.kind == "onnx-int8" else task.exact, out)
    report = report.model_copy(update={"seconds": round(time.perf_counter() - started, 2)})
    files.write_json(out / served.REPORT, report.model_dump(mode="json"))
    return report


def _choose(task: _Task) -> EngineReport:
    from evertune.serving.engine.torch_model import TorchModel

    reference = TorchModel(task.folder, task.digest)
    try:
        export.to_onnx(reference.network, task.exact, reference.embedded)
        difference = _difference(reference, task.open(task.exact), task.rows.ids[:EXACT_ROWS])
    except Exception as fault:  # noqa: BLE001 - whatever the exporter or the runtime cannot do, torch can
        return _torch(f"the architecture does not export to ONNX ({type(fault).__name__})", task)
    if np.isnan(difference) or difference > CLOSE:
        return _torch(f"the exported model's numbers differ by {difference:.1e}, {CLOSE:.0e} is allowed", task)
    known: dict[str, Any] = {"allowed_loss": task.allowed_loss, "difference": difference}
    if task.rows.truth is None:
        return EngineReport(kind="onnx-fp32", reason="the release has no check rows to try 8 bits on", **known)
    parts = Parts.of(task.rows.ids, task.rows.truth)
    if not parts.judged:
        return EngineReport(kind="onnx-fp32", reason="the release has too few check rows to try 8 bits on", **known)
    return _try_int8(task, parts, known)


def _try_int8(task: _Task, parts: Parts, known: dict[str, Any]) -> EngineReport:
    """8 bits everywhere, else 16 for the inputs of a few products, else 32: the fastest that is good enough."""
    ids = parts.judged
    tried: list[str] = []
    facts: dict[str, Any] = known
    try:
        ranges = quantise.calibrate(task.exact, parts.fitted, served.filler(task.folder))
        exact = in_batches(task.open(task.exact), ids, BATCH_TOKENS)[0].argmax(1)
        planned = quantise.plan(task.exact, ranges)
        for finer in FINER:
            integers.write(task.exact, task.fast, quantise.refined(task.exact, ranges, planned, finer))
            where = f"all {len(planned)} matrix products" + (f", 16 for {finer} inputs" if finer else "")
            found, neighbours = _measure(task, exact, parts)
            facts = known | found._asdict() | {"rows": len(ids), "neighbours": neighbours}
            if (why_not := found.fault(task.allowed_loss)) is None:
                reason = f"8 bits in {where} answer as 32 bits do on the check rows, alone and in batches"
                return EngineReport(kind="onnx-int8", reason="; ".join([*tried, reason]), **facts)
            tried.append(f"in {where}: {why_not}")
    except Exception as fault:  # noqa: BLE001 - 32 bits answer just as well, only slower
        tried.append(f"8 bits could not be tried ({type(fault).__name__}: {fault})"[:300])
    return EngineReport(kind="onnx-fp32", reason="; ".join(tried), **facts)


def _measure(task: _Task, exact: compare.Labels, parts: Parts) -> tuple[compare.Comparison, float]:
    model, ids = task.open(task.fast), parts.judged
    together, mixed = in_batches(model, ids, BATCH_TOKENS)[0], _shuffled(model, ids)
    alone = np.concatenate([model.run([row])[0] for row in ids[:ALONE_ROWS]])
    shares = [_shares(logits[:ALONE_ROWS]) for logits in (alone, together, mixed)]
    neighbours = max(float(np.abs(shares[0] - other).max()) for other in shares[1:])
    ways = [logits.argmax(1) for logits in (together, mixed)]
    return compare.compare(parts.truth, exact, ways, len(bundle.facts(task.folder).labels)), neighbours


def _shuffled(model: Model, ids: list[list[int]], size: int = 16) -> Floats:
    """The rows in batches of random company: the worst that a quiet server does to them."""
    order = np.random.default_rng(17).permutation(len(ids))
    parts = [model.run([ids[place] for place in order[at : at + size]])[0] for at in range(0, len(ids), size)]
    found = np.concatenate(parts)
    back = np.empty_like(found)
    back[order] = found
    return back


def _shares(logits: Floats) -> Floats:
    from evertune.models.classifier import softmax

    return softmax(logits)


def _difference(reference: Model, model: Model, ids: Sequence[Sequence[int]]) -> float:
    """The largest difference of a logit or of an embedding's number; rows of all lengths share the batches."""
    worst = 0.0
    for wanted, found in zip(in_batches(reference, ids, 1 << 14), in_batches(model, ids, 1 << 14), strict=True):
        scale = max(1.0, float(np.abs(wanted).max()))
        worst = max(worst, float(np.abs(wanted - found).max()) / scale)
    return worst


def _torch(reason: str, task: _Task) -> EngineReport:
    return EngineReport(kind="torch", reason=reason, allowed_loss=task.allowed_loss)


def _rows(folder: Path, checks: Path | None) -> Rows:
    from evertune import text

    facts = bundle.facts(folder)
    tokenizer = text.load_tokenizer(folder)
    if checks is None:
        return Rows(text.encode(tokenizer, SENTENCES, facts.max_tokens)[0], None)
    import pyarrow.parquet as pq

    table = pq.read_table(checks, columns=["text", "truth"])
    truth = np.asarray(table["truth"].to_pylist(), np.int64)
    if table.num_rows and (truth.min() < 0 or truth.max() >= len(facts.labels)):
        raise files.CorruptError(f"{checks} names classes that the model does not have. Do not use this release.")
    if not table.num_rows:
        return Rows(text.encode(tokenizer, SENTENCES, facts.max_tokens)[0], None)
    return Rows(text.encode(tokenizer, table["text"].to_pylist(), facts.max_tokens)[0], truth)


def main() -> None:
    """The command line. A fault goes to stderr in words; ``build`` hands it on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("digest")
    parser.add_argument("out", type=Path)
    parser.add_argument("--checks", type=Path)
    parser.add_argument("--allowed-loss", type=float, required=True)
    given = parser.parse_args()
    os.nice(10)
    logging.disable(logging.WARNING)
    try:
        convert(given.bundle, given.digest, given.checks, given.allowed_loss, given.out)
    except EvertuneError as fault:
        raise SystemExit(str(fault)) from fault


if __name__ == "__main__":
    main()
