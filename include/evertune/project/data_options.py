"""Options of a project's data: where rows come from, and which column plays which part."""

from __future__ import annotations

import itertools
from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator, model_validator

from evertune.project.block import Name, Options
from evertune.project.forms import GroupPattern, RedactingPattern, unfit
from evertune.project.source_options import Source, not_reserved, unique


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
    """Whose data the row is, for erasure. Stored as a hash, which nobody can guess at who does not know the secret in
    `EVERTUNE_SUBJECT_SALT`; without one, anybody can who knows the names."""
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
