"""How far two engines agree on the same rows. Pure: numbers in, numbers out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.models.classifier import macro_f1

LEAST_AGREEMENT = 0.99
"""Share of rows that must keep their label in 8 bits."""

Labels = NDArray[np.integer]


class Comparison(NamedTuple):
    """8 bits against 32 bits. Shares; of several ways to make batches the worst."""

    agreement: float
    accuracy_fp32: float
    accuracy_int8: float
    f1_fp32: float
    f1_int8: float

    def fault(self, allowed_loss: float) -> str | None:
        """Why 8 bits will not do, or ``None`` where they will."""
        if self.agreement < LEAST_AGREEMENT:
            return f"only {self.agreement:.1%} of the check rows keep their label in 8 bits, {LEAST_AGREEMENT:.0%} must"
        loss = self.f1_fp32 - self.f1_int8
        if loss > allowed_loss + 1e-9:
            return f"8 bits cost {loss:.4f} macro F1 on the check rows, {allowed_loss:g} is allowed"
        return None


def compare(truth: Labels, exact: Labels, ways: list[Labels], classes: int) -> Comparison:
    """``exact``: labels of the 32-bit engine; ``ways``: those of the 8-bit one, in several companies."""
    return Comparison(
        agreement=min(float((way == exact).mean()) for way in ways),
        accuracy_fp32=float((exact == truth).mean()),
        accuracy_int8=min(float((way == truth).mean()) for way in ways),
        f1_fp32=macro_f1(truth, exact, classes),
        f1_int8=min(macro_f1(truth, way, classes) for way in ways),
    )
