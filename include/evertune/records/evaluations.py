"""The records of what was measured of a model."""

from __future__ import annotations

from pydantic import Field

from evertune.records.core import Record


class ClassScores(Record):
    """Scores of one class; 0 where nothing was predicted (and so precision is undefined)."""

    precision: float
    recall: float
    f1: float
    support: int


class Scores(Record):
    """Quality of one model on one set of rows. Shares, 0 to 1."""

    rows: int
    accuracy: float
    precision: float
    """Macro average, as are ``recall`` and ``f1``."""
    recall: float
    f1: float
    calibration_error: float
    """Expected calibration error over 15 equal-width bins of confidence (Guo et al. 2017, arXiv 1706.04599)."""
    log_loss: float
    per_class: dict[str, ClassScores]
    confusion: tuple[tuple[int, ...], ...]
    """``confusion[i][j]``: rows of class i answered as j, in the order of the dataset's labels."""


class Slice(Record):
    """One part of the test rows, with both models' scores on it."""

    name: str
    """``column=value``; ``length=short`` and ``class=...`` are always there."""
    rows: int
    challenger: Scores
    champion: Scores | None = None


class Recent(Record):
    """What was measured on recent labelled traffic that no model was trained on, weighted by how it was picked."""

    rows: int
    effective_rows: float
    """So many rows of equal weight would tell as much (Kish 1965)."""
    challenger: Scores
    champion: Scores | None = None


class Evaluation(Record):
    """What was measured of a candidate, on the frozen test rows, in pairs with the champion where there is one."""

    run_key: str
    dataset_version: str
    challenger: Scores
    champion: Scores | None = None
    champion_generation: int = 0
    baselines: dict[str, Scores]
    """``majority``: always the most frequent class of training; ``untuned``: the base model's nearest label mean."""
    slices: tuple[Slice, ...] = ()
    latency_ms: dict[str, float] = Field(default_factory=dict)
    """``p50`` and ``p95`` of answering one row at a time, in milliseconds."""
    model_bytes: int = 0
    recent: Recent | None = None
    """The same on labelled traffic, where the dataset has some to judge on."""
    pairs: str
    """Path of the Parquet file with one line a test row: row_id, label, and each model's probabilities."""
