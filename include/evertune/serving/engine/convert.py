"""The conversion itself: ``python -m evertune.serving.engine.convert BUNDLE DIGEST OUT``, started by ``build``.

Verified safetensors become the fastest engine that answers as the model does. On a processor with matrix units that is
own code in bf16, where it is held to the torch model's labels and quality on the check rows. Elsewhere they become an
ONNX graph with fused operators, held to the torch model's logits, and that one an 8-bit graph, held to the 32-bit one's
labels and quality. What cannot be exported runs in torch.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from evertune import files
from evertune.models import bundle, shortage
from evertune.records import EvertuneError
from evertune.serving.engine import build, served, trial
from evertune.serving.engine.graphs import export, integers, quantise
from evertune.serving.engine.native import encoder, machine, weights
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.sentences import SENTENCES
from evertune.serving.engine.served import Model

if TYPE_CHECKING:
    from evertune.serving.engine.torch_model import TorchModel

CLOSE = 1e-4
"""Largest difference of a logit, relative to the largest logit where that is above 1, between torch and ONNX."""
NEAR = 0.05
"""The same in bf16, whose numbers are good to 1/256 each: a wrong one differs by more than 1."""
CALIBRATION_ROWS = 256
"""Check rows on which the ranges of activations are measured, at most."""
CALIBRATED_EVERY = 4
"""At most one check row in so many is measured on; the comparison is on the others, which 8 bits have not seen."""
FINER = (0, 2, 4, 8)
"""Products whose inputs get 16 bits, those that 8 bits harm most: as few as will do."""


class Parts(NamedTuple):
    """Check rows apart: what 8 bits are fitted to, and what they are judged on."""

    fitted: list[list[int]]
    judged: trial.Rows

    @classmethod
    def of(cls, rows: trial.Rows) -> Parts:
        """Every n-th row to fit to, all others to judge on."""
        step = max(CALIBRATED_EVERY, -(-len(rows.ids) // CALIBRATION_ROWS))
        judged = np.flatnonzero(np.arange(len(rows.ids)) % step)
        others = trial.Rows([rows.ids[place] for place in judged], rows.truth[judged], rows.classes)
        return cls(rows.ids[::step], others)


class _Task(NamedTuple):
    """One conversion."""

    folder: Path
    digest: str
    ids: list[list[int]]
    """Rows on which numbers are compared."""
    checks: trial.Rows | None
    """The same where their truth is known, too."""
    allowed_loss: float
    scratch: Path
    reference: TorchModel

    @property
    def exact(self) -> Path:
        return self.scratch / "fp32.onnx"

    @property
    def fast(self) -> Path:
        return self.scratch / "int8.onnx"

    @property
    def native(self) -> Path:
        return self.scratch / "native"

    def open(self, path: Path) -> Model:
        """A session of its own."""
        from evertune.serving.engine.session import OnnxModel

        return OnnxModel(path, served.filler(self.folder))


def convert(
    folder: Path, digest: str, checks: Path | None, allowed_loss: float, out: Path, *, portable: bool = False
) -> EngineReport:
    """Fill ``out`` with the engine's files (for kind ``torch`` there are none) and ``report.json``.

    ``portable``: without own code for this processor.
    """
    from evertune.serving.engine.torch_model import TorchModel

    started = time.perf_counter()
    bundle.check(folder, digest)
    with tempfile.TemporaryDirectory(dir=out) as scratch:  # there, so that a kill leaves it to who made `out`
        ids, known = _rows(folder, checks)
        # On the CPU whatever else there is: a GPU's memory belongs to what trains and answers there.
        reference = TorchModel(folder, digest, "cpu")
        task = _Task(folder, digest, ids, known, allowed_loss, Path(scratch), reference)
        report = _choose(task, portable=portable)
        if report.kind == "amx-bf16":
            for path in task.native.iterdir():
                path.rename(out / path.name)
        elif report.kind != "torch":
            export.place(task.fast if report.kind == "onnx-int8" else task.exact, out)
    report = report.model_copy(update={"seconds": round(time.perf_counter() - started, 2)})
    files.write_json(out / served.REPORT, report.model_dump(mode="json"))
    return report


def _choose(task: _Task, *, portable: bool) -> EngineReport:
    tried = ["without own code for this processor"] if portable else []
    checks, reference = task.checks, task.reference
    if checks is not None and not portable and (report := _try_native(task, checks, tried)) is not None:
        return report
    try:
        export.to_onnx(reference.network, task.exact, reference.embedded)
        difference = trial.difference(reference, task.open(task.exact), task.ids)
    except Exception as fault:  # noqa: BLE001 - whatever the exporter or the runtime cannot do, torch can
        return _torch([*tried, f"the architecture does not export to ONNX ({type(fault).__name__})"], task)
    if not difference <= CLOSE:
        why = f"the exported model's numbers differ by {difference:.1e}, {CLOSE:.0e} is allowed"
        return _torch([*tried, why], task)
    known: dict[str, Any] = {"allowed_loss": task.allowed_loss, "difference": difference}
    parts = Parts.of(checks) if checks is not None else None
    if parts is None or not parts.judged.ids:
        few = "no" if parts is None else "too few"
        reason = "; ".join([*tried, f"the release has {few} check rows to try 8 bits on"])
        return EngineReport(kind="onnx-fp32", reason=reason, **known)
    return _try_int8(task, parts, known, tried)


def _try_native(task: _Task, checks: trial.Rows, tried: list[str]) -> EngineReport | None:
    """Own code in bf16, where this machine and the model are fit for it and it is good enough."""
    network = task.reference.network
    if machine.fault() or weights.fault(network, task.reference.embedded):
        return None
    try:
        machine.compiled()
        task.native.mkdir()
        weights.write(network, task.native)
        model = encoder.AmxModel(task.native)
        difference = trial.difference(task.reference, model, checks.ids)
        found, neighbours = trial.compared(model, trial.labels(task.reference, checks), checks)
    except Exception as fault:  # noqa: BLE001 - ONNX Runtime answers just as well, only slower
        tried.append(f"the processor's matrix units could not be tried ({fault})"[:300])
        return None
    why_not = found.fault(task.allowed_loss)
    if not difference <= NEAR:
        why_not = f"numbers differ by {difference:.1e}, {NEAR:.0e} is allowed"
    if why_not:
        tried.append(f"in bf16 on the processor's matrix units: {why_not}")
        return None
    return EngineReport(
        kind="amx-bf16",
        reason="bf16 on the processor's matrix units answers as 32 bits do on the check rows, alone and in batches",
        allowed_loss=task.allowed_loss, difference=difference, rows=len(checks.ids), neighbours=neighbours,
        **found._asdict(),
    )  # fmt: skip


def _try_int8(task: _Task, parts: Parts, known: dict[str, Any], tried: list[str]) -> EngineReport:
    """8 bits everywhere, else 16 for the inputs of a few products, else 32: the fastest that is good enough."""
    facts: dict[str, Any] = known
    try:
        ranges = quantise.calibrate(task.exact, parts.fitted, served.filler(task.folder))
        exact = trial.labels(task.open(task.exact), parts.judged)
        planned = refined = quantise.plan(task.exact, ranges)
        for finer in FINER:
            refined = quantise.refined(task.exact, ranges, planned, finer, refined)
            integers.write(task.exact, task.fast, refined)
            where = f"all {len(planned)} matrix products" + (f", 16 for {finer} inputs" if finer else "")
            found, neighbours = trial.compared(task.open(task.fast), exact, parts.judged)
            facts = known | found._asdict() | {"rows": len(parts.judged.ids), "neighbours": neighbours}
            if (why_not := found.fault(task.allowed_loss)) is None:
                reason = f"8 bits in {where} answer as 32 bits do on the check rows, alone and in batches"
                return EngineReport(kind="onnx-int8", reason="; ".join([*tried, reason]), **facts)
            tried.append(f"in {where}: {why_not}")
    except Exception as fault:  # noqa: BLE001 - 32 bits answer just as well, only slower
        tried.append(f"8 bits could not be tried ({type(fault).__name__}: {fault})"[:300])
    return EngineReport(kind="onnx-fp32", reason="; ".join(tried), **facts)


def _torch(reasons: list[str], task: _Task) -> EngineReport:
    return EngineReport(kind="torch", reason="; ".join(reasons), allowed_loss=task.allowed_loss)


def _rows(folder: Path, checks: Path | None) -> tuple[list[list[int]], trial.Rows | None]:
    from evertune import text

    facts = bundle.facts(folder)
    tokenizer = text.load_tokenizer(folder)
    if checks is None:
        return text.encode(tokenizer, SENTENCES, facts.max_tokens)[0], None
    import pyarrow.parquet as pq

    table = pq.read_table(checks, columns=["text", "truth"])
    truth = np.asarray(table["truth"].to_pylist(), np.int64)
    if table.num_rows and (truth.min() < 0 or truth.max() >= len(facts.labels)):
        raise files.CorruptError(f"{checks} names classes that the model does not have. Do not use this release.")
    if not table.num_rows:
        return text.encode(tokenizer, SENTENCES, facts.max_tokens)[0], None
    ids = text.encode(tokenizer, table["text"].to_pylist(), facts.max_tokens)[0]
    return ids, trial.Rows(ids, truth, len(facts.labels))


def main() -> None:
    """The command line. A fault goes to stderr in words; ``build`` hands it on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("digest")
    parser.add_argument("out", type=Path)
    parser.add_argument("--checks", type=Path)
    parser.add_argument("--allowed-loss", type=float, required=True)
    parser.add_argument("--portable", action="store_true")
    given = parser.parse_args()
    os.nice(10)
    logging.disable(logging.WARNING)
    try:
        with shortage.told("the bundle was converted", lambda: [shortage.LARGER]):
            convert(
                given.bundle, given.digest, given.checks, given.allowed_loss, given.out, portable=given.portable
            )  # fmt: skip
    except shortage.ShortageError as fault:
        sys.stderr.write(f"{fault}\n")
        raise SystemExit(build.PASSING) from fault
    except EvertuneError as fault:
        raise SystemExit(str(fault)) from fault
    except OSError as fault:
        sys.stderr.write(f"{type(fault).__name__}: {fault}\n")
        raise SystemExit(build.PASSING) from fault


if __name__ == "__main__":
    main()
