"""A release without weights: its model's answers can be computed by hand."""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from tests.models import tiny

from evertune import text
from evertune.records import Release
from evertune.serving.engine.report import EngineReport
from evertune.serving.engine.served import Floats, Served

LABELS = ("even", "odd")
REPORT = EngineReport(kind="onnx-fp32", reason="made up", allowed_loss=0.003)


def release(project: str = "made-up", generation: int = 1, digest: str = "d" * 64) -> Release:
    return Release(
        project=project, generation=generation, model_version=generation, digest=digest, run_key=f"run-{generation}",
        kind="promote", approved_by="tests", created=datetime(2026, 1, 1, tzinfo=UTC),
    )  # fmt: skip


class Sums:
    """Logits and embedding tell the sum of a row's ids: an answer that came to a wrong request is seen."""

    padded: ClassVar[bool] = True

    def __init__(self) -> None:
        self.batches: list[list[list[int]]] = []
        self.alone: list[bool] = []
        """Of each batch, whether it was said to be alone."""
        self.gate = threading.Event()
        self.gate.set()
        self.fault: Callable[[Sequence[Sequence[int]]], Exception | None] = lambda _: None
        self.seconds = 0.0
        self.computing = 0
        """Calls under way."""
        self._counting = threading.Lock()

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        self._count(1)
        try:
            return self._run(rows, alone)
        finally:
            self._count(-1)

    def _count(self, change: int) -> None:
        with self._counting:
            self.computing += change

    def _run(self, rows: Sequence[Sequence[int]], alone: bool) -> tuple[Floats, Floats]:
        self.gate.wait(60)
        self.batches.append([list(row) for row in rows])
        self.alone.append(alone)
        time.sleep(self.seconds)
        if (fault := self.fault(rows)) is not None:
            raise fault
        sums = np.array([sum(row) for row in rows], np.float32)
        logits = np.stack([1 - sums % 2, sums % 2], axis=1)
        return logits.astype(np.float32), np.stack([sums, sums * 0 + len(rows)], axis=1)


def tokenizer_folder(folder: Path) -> Path:
    tiny.tokenizer().save(str(folder / "tokenizer.json"))
    return folder


def served(folder: Path, project: str = "made-up", generation: int = 1, **changes: Any) -> Served:
    parts: dict[str, Any] = {
        "release": release(project, generation), "labels": LABELS, "model": Sums(), "engine": REPORT, "max_tokens": 32,
        "temperature": 1.0, "tokenizer": text.load_tokenizer(folder), "redactor": text.Redactor(("email",), {}),
    }  # fmt: skip
    return Served(**{**parts, **changes})


def sums(release_: Served) -> Sums:
    model = release_.model
    assert isinstance(model, Sums)
    return model


def converted(engine: Path) -> Callable[..., None]:
    """Stands in for the conversion: the model that really was converted once, without the ten seconds."""

    def convert(_command: list[str], to: Path, _stop: threading.Event) -> None:
        for name in ("model.onnx", "weights.bin", "report.json"):
            shutil.copyfile(engine / name, to / name)

    return convert
