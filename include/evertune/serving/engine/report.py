"""What engine was built for a release, and why that one."""

from __future__ import annotations

from typing import Literal

from evertune.records import Record

Kind = Literal["amx-bf16", "onnx-int8", "onnx-fp32", "torch"]
"""What computes, and in which numbers: own code on the processor's matrix units, ONNX Runtime or torch."""


class EngineReport(Record):
    """The record of one conversion: it lies beside the engine, and the ledger keeps what a server runs."""

    kind: Kind
    reason: str
    """One sentence for people."""
    rows: int = 0
    """Check rows that were compared."""
    agreement: float | None = None
    """Share of check rows with the same label as in 32 bits, the worst of several companies in a batch."""
    accuracy_fp32: float | None = None
    accuracy: float | None = None
    f1_fp32: float | None = None
    f1: float | None = None
    """Macro F1 with fewer bits, the worst of several companies in a batch."""
    allowed_loss: float
    """Macro F1 that fewer bits were allowed to cost, as a share."""
    difference: float | None = None
    """Largest difference of a number between the model as trained and the engine, for 8 bits the 32-bit one before."""
    neighbours: float | None = None
    """Largest change of a probability that the other texts of a batch made: of fixed scales, rounding alone."""
    seconds: float = 0.0
    """What the conversion took."""
