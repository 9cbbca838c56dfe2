"""What a tuning tells while it runs, and at its end."""

from __future__ import annotations

from typing import Any

from evertune.records import Record


class Progress(Record):
    """Where a tuning is. Told at most every half second."""

    phase: str
    """``tune``, ``validate`` or ``write``."""
    step: int
    """Optimiser steps done."""
    steps: int
    """Steps of all epochs, about: batches differ a little from epoch to epoch."""
    epoch: float
    """Epochs done."""
    loss: float | None = None
    """Mean training loss since the last time it was told."""
    validation_loss: float | None = None
    """The last one measured, as is ``f1`` (macro, on the validation rows)."""
    f1: float | None = None
    learning_rate: float = 0.0
    tokens_per_s: float = 0.0
    """Real tokens: padding does not count."""
    seconds_left: float | None = None
    """By the speed so far, without early stopping."""

    def metrics(self) -> dict[str, float]:
        """The numbers that are worth a curve."""
        names = ("epoch", "loss", "validation_loss", "f1", "learning_rate", "tokens_per_s")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class TuningResult(Record):
    """A tuning that came to its end."""

    digest: str
    """Of the bundle."""
    seconds: float
    """Of all its processes together, up to their last checkpoint each."""
    steps: int
    tokens: int
    """Real tokens trained on, repeated ones counted again."""
    curve: list[dict[str, Any]]
    """One entry a measurement: ``step``, ``loss``, ``learning_rate``, at evaluations ``validation_loss`` and ``f1``."""
    precision: str
    """``bf16`` or ``fp32``: what the matrix products ran in."""
    temperature: float
    best_step: int
    """The step whose weights were kept."""
