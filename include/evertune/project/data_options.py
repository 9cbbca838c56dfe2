"""Options of a project's data: where rows come from, and which column plays which part."""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from evertune.project.block import SHA256, Name, Options
from evertune.project.forms import (
    ENDINGS,
    PACKED,
    Codec,
    GroupPattern,
    RedactingPattern,
    SourceUri,
    ending,
    is_local,
    is_wheel,
    unfit,
)

RESERVED = (
    "row_id", "text", "label", "id", "group", "subject", "time", "source", "fault", "target", "reasons",
    "label_index", "tokens", "cut",
)  # fmt: skip
"""Columns that a snapshot or dataset has of its own."""


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

    uri: SourceUri = Field(examples=["data/examples.csv"])
    """`wheel://PACKAGE==VERSION/path/in/wheel`, `hf://OWNER/NAME` (with `?config=…&split=…&revision=…`), or a path
    (relative to the project file) to a CSV, TSV, JSON Lines or Parquet file, plain or ending in `.gz` or `.zst`."""
    sha256: Annotated[str, Field(pattern=SHA256)] | None = Field(
        default=None, validate_default=True, examples=["0" * 64]
    )
    """SHA-256 of the wheel or file. Required for `wheel://`; a file whose hash differs is refused.
    Not for `hf://`, which is pinned by `?revision=…`."""
    format: Format = Field(default=Format.AUTO, validate_default=True)
    """`auto` goes by the file's ending: `.csv`, `.tsv`, `.jsonl`, `.ndjson` or `.parquet`."""
    encoding: Codec = "utf-8"
    """Encoding of a text file, as Python names it. Bytes that do not fit quarantine their row, never the file."""
    quoting: Quoting = Quoting.MINIMAL
    """`none` where quotation marks are ordinary characters, as in many TSV files."""
    header: Annotated[tuple[Name, ...], Field(min_length=1)] | None = Field(default=None, examples=[["text", "label"]])
    """Names of the columns of a CSV or TSV file whose first line already holds data."""
    constants: dict[Name, str] = Field(default_factory=dict, examples=[{"domain": "amazon"}])
    """Columns that have the same value in every row of this source, such as `domain: amazon`."""
    rows: Annotated[int, Field(ge=1)] | None = Field(default=None, examples=[10_000])
    """Draw about this many rows: whole groups, picked by a hash of the group, so that the pick is always the same.
    They are counted before the label rule. All rows without it."""

    @field_validator("sha256")
    @classmethod
    def _is_pinned(cls, value: str | None, info: ValidationInfo) -> str | None:
        return pinned(value, info.data.get("uri", ""))

    @field_validator("format")
    @classmethod
    def _is_known(cls, value: Format, info: ValidationInfo) -> Format:
        uri = info.data.get("uri")
        if value is Format.AUTO and uri and (is_local(uri) or is_wheel(uri)) and ending(uri) not in ENDINGS:
            raise unfit(
                f"expected a file that ends in {', '.join(ENDINGS)} (or that and {' or '.join(PACKED)}), "
                f"or its format told, as in format: tsv; found {uri!r}"
            )
        return value

    @field_validator("header")
    @classmethod
    def _is_of_a_table(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is None:
            return value
        if info.data.get("format") in {Format.JSONL, Format.PARQUET}:
            raise unfit(f"expected no header, because a file of format {info.data['format']} names its columns itself")
        return unique(value)

    @field_validator("constants")
    @classmethod
    def _are_not_reserved(cls, value: dict[str, str]) -> dict[str, str]:
        not_reserved(value)
        return value


def pinned(sha256: str | None, uri: str) -> str | None:
    """``sha256`` where it fits the address: a wheel must have one, a hub's repository cannot."""
    if sha256 is None and is_wheel(uri):
        raise unfit(
            "expected the SHA-256 of the wheel: 64 hexadecimal digits, as the package index shows them under "
            "'Download files', or as `pip download --no-deps` and `sha256sum` do"
        )
    if sha256 is not None and uri.startswith("hf://"):
        raise unfit("expected no sha256, because an hf:// address is pinned by ?revision= and a commit")
    return sha256


def unique(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, where each is there once."""
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise unfit(f"expected different names; {', '.join(twice)} stands there more than once")
    return names


def not_reserved(names: Iterable[str]) -> None:
    """Refuse columns that a snapshot or dataset has of its own: one of the two would be lost."""
    taken = sorted(set(names) & set(RESERVED))
    if taken:
        raise unfit(f"expected names other than evertune's own columns; {', '.join(taken)} would hide one of them")


class Group(Options):
    """Which rows belong together (one document, one customer) and so never part across train and test."""

    column: Name
    """Column that tells the group."""
    pattern: GroupPattern | None = None
    """Regular expression (Python's `re`), searched in the value; what its first round brackets match is the group. The
    whole value is, where it does not match or there is no pattern."""


class Columns(Options):
    """Which column plays which part."""

    text: Name = Field(examples=["text"])
    """The input."""
    label: Name = Field(examples=["label"])
    """The target, before the label rule."""
    id: Name | None = Field(default=None, examples=["id"])
    """The source's own id of a row, kept so that a row can be traced."""
    group: Group | None = Field(default=None, examples=[{"column": "id", "pattern": "^([^_]+)_"}])
    """Without it each row is its own group, by its text."""
    subject: Name | None = Field(default=None, examples=["customer"])
    """Whose data the row is, for erasure. Stored as a salted hash."""
    time: Name | None = Field(default=None, examples=["created_at"])
    """When the row came to be: ISO 8601 or Unix seconds."""
    keep: tuple[Name, ...] = Field(default=(), examples=[["channel"]])
    """Further columns to keep, for slices and expectations. A source's `constants` are kept without being named."""

    @field_validator("label")
    @classmethod
    def _is_not_the_text(cls, value: str, info: ValidationInfo) -> str:
        if value == info.data.get("text"):
            raise unfit(f"expected another column than text; {value!r} cannot be input and target at once")
        return value

    @field_validator("keep")
    @classmethod
    def _are_different(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        not_reserved(value)
        return unique(value)


class Cut(Options):
    """One class of a numeric score: `at_least` ≤ score < `below`."""

    label: Name
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


CUTS = [{"label": "negative", "below": 0}, {"label": "positive", "at_least": 1}]


class LabelRule(Options):
    """How the label column becomes a class. Give `classes`, `cuts`, or neither (every value seen is a class)."""

    classes: tuple[Name, ...] | None = Field(default=None, examples=[["negative", "positive"]])
    """The classes that exist. A row with another label goes to quarantine."""
    cuts: tuple[Cut, ...] | None = Field(default=None, examples=[CUTS])
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
    ranges = sorted(
        (-infinity if cut.at_least is None else cut.at_least, infinity if cut.below is None else cut.below)
        for cut in cuts
    )
    for (_, end), (start, _) in itertools.pairwise(ranges):
        if start < end:
            raise ValueError("cuts overlap: a score would belong to two classes")


class CustomPattern(Options):
    """A pattern of the project's own that must not be stored."""

    name: Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]*$")]
    """What stands in the text instead, in angle brackets: `customer_number` leaves `<customer_number>`."""
    pattern: RedactingPattern
    """Regular expression (Python's `re`); all of what it matches is taken out."""


BuiltIn = Literal["email", "phone", "card", "iban", "ip", "secret"]
BUILT_IN: tuple[BuiltIn, ...] = ("email", "phone", "card", "iban", "ip", "secret")


CUSTOM = [{"name": "customer_number", "pattern": "KD-[0-9]{6}"}]


class Redaction(Options):
    """What is taken out of texts while they are drawn, before anything is written, and again in serving."""

    patterns: tuple[BuiltIn, ...] = BUILT_IN
    """Built-in patterns. Cards and IBANs count only with a right checksum."""
    custom: tuple[CustomPattern, ...] = Field(default=(), examples=[CUSTOM])
    """The project's own patterns."""

    @field_validator("custom")
    @classmethod
    def _have_names_of_their_own(cls, value: tuple[CustomPattern, ...]) -> tuple[CustomPattern, ...]:
        unique((*BUILT_IN, *(pattern.name for pattern in value)))
        return value


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
