"""Where a tuning stands: the part of a checkpoint that is not tensors."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

from evertune.records import JsonObject


@dataclass
class State:
    """Plain numbers, changed by the loop alone. With the tensors beside it a tuning goes on as if never stopped."""

    epoch: int = 0
    batch: int = 0
    """Batches of this epoch that are done."""
    step: int = 0
    tokens: int = 0
    seconds: float = 0.0
    """Of the loop, in all processes so far."""
    loss_sum: float = 0.0
    """Of the training loss since the last entry of the curve, over ``loss_steps`` steps."""
    loss_steps: int = 0
    best_loss: float | None = None
    best_step: int = 0
    without_gain: int = 0
    """Evaluations since the best one."""
    stopped: bool = False
    """Stopped early."""
    validation_loss: float | None = None
    f1: float | None = None
    curve: list[dict[str, Any]] = field(default_factory=list)

    def dump(self) -> JsonObject:
        """As JSON."""
        return asdict(self)

    @classmethod
    def read(cls, value: JsonObject) -> State:
        """From what :meth:`dump` gave."""
        return cls(**{part.name: value[part.name] for part in fields(cls)})

    def take_loss(self) -> float | None:
        """Mean training loss since it was last taken."""
        mean = self.loss_sum / self.loss_steps if self.loss_steps else None
        self.loss_sum, self.loss_steps = 0.0, 0
        return mean
