"""How far two engines agree on the same rows. Pure: numbers in, numbers out."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.models.classifier import macro_f1

LEAST_AGREEMENT = 0.99
"""Share of rows that must keep their label with fewer bits."""

Labels = NDArray[np.integer]


class Comparison(NamedTuple):
    """Fewer bits against 32. Shares; of several ways to make batches the worst."""

    agreement: float
    accuracy_fp32: float
    accuracy: float
    f1_fp32: float
    f1: float

    def fault(self, allowed_loss: float) -> str | None:
        """Why fewer bits will not do, or ``None`` where they will."""
        if self.agreement < LEAST_AGREEMENT:
            return f"only {self.agreement:.1%} of the check rows keep their label, {LEAST_AGREEMENT:.0%} must"
        loss = self.f1_fp32 - self.f1
        if loss > allowed_loss + 1e-9:
            return f"it costs {loss:.4f} macro F1 on the check rows, {allowed_loss:g} is allowed"
        return None


def compare(truth: Labels, exact: Labels, ways: list[Labels], classes: int) -> Comparison:
    """``exact``: labels of the 32-bit engine; ``ways``: those of the other one, in several companies."""
    return Comparison(
        agreement=min(float((way == exact).mean()) for way in ways),
        accuracy_fp32=float((exact == truth).mean()),
        accuracy=min(float((way == truth).mean()) for way in ways),
        f1_fp32=macro_f1(truth, exact, classes),
        f1=min(macro_f1(truth, way, classes) for way in ways),
    )
