"""What engine was built for a release, and why that one."""

from __future__ import annotations

from typing import Literal

from evertune.records import Record

Kind = Literal["onnx-int8", "onnx-fp32", "torch"]


class EngineReport(Record):
    """The record of one conversion: it lies beside the engine, and the ledger keeps what a server runs."""

    kind: Kind
    reason: str
    """One sentence for people."""
    rows: int = 0
    """Check rows that were compared."""
    agreement: float | None = None
    """Share of check rows with the same label in 8 and in 32 bits, the worst of several companies in a batch."""
    accuracy_fp32: float | None = None
    accuracy_int8: float | None = None
    f1_fp32: float | None = None
    f1_int8: float | None = None
    """Macro F1 in 8 bits, the worst of several companies in a batch."""
    allowed_loss: float
    """Macro F1 that 8 bits were allowed to cost, as a share."""
    difference: float | None = None
    """Largest difference of a logit between the 32-bit engine and the model as trained."""
    neighbours: float | None = None
    """Largest change of a probability that the other texts of a batch made: of fixed scales, rounding alone."""
    seconds: float = 0.0
    """What the conversion took."""
