"""Options of a project's rows: what they must be like, and how they become a dataset."""

from __future__ import annotations

import re
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from evertune.project.block import Options, Share
from evertune.project.expectations import NAME, OF_TWO_TABLES, UNEXPECTED_ROWS, core_expectations, in_snake_case
from evertune.project.forms import Script, unfit


class Expectation(Options):
    """One Great Expectations expectation, by its name in snake case."""

    name: Annotated[str, Field(json_schema_extra={"pattern": NAME})]
    """Any core expectation, for example `expect_column_value_lengths_to_be_between` or, as Great Expectations writes
    it, `ExpectColumnValueLengthsToBeBetween`; `unexpected_rows_expectation` asks a query in SQL of the table `{batch}`,
    in SQLite, and finds rows that should not be there. Only `expect_query_results_to_match_comparison` and
    `expect_table_row_count_to_equal_other_table` cannot be asked: a run has one table."""
    arguments: dict[str, Any] = Field(default_factory=dict)
    """Its arguments, as Great Expectations documents them. Columns are those of a snapshot: `text`, `label`, `id`,
    `group`, and what `columns.keep` and the sources' `constants` name.

    A snapshot holds text. A column is read as numbers where the expectation is about numbers, and as dates where
    `min_value` or `max_value` is one (`'2024-01-31'`, in ISO 8601; without a zone it is one of UTC, without a time the
    day's beginning). A value that is none goes to quarantine. `row_condition` asks some rows alone, as pandas' `query`
    does: a column is a number where it is compared with one (`label >= 3`), else text (`domain == "amazon"`). If no row
    meets it, the report says so."""

    @field_validator("name")
    @classmethod
    def _exists(cls, value: str) -> str:
        name, known = in_snake_case(value), core_expectations()
        if name in OF_TWO_TABLES:
            raise unfit(
                f"expected an expectation about one batch of rows; {value} compares it with another table, and a run "
                f"has none. Write a query for {UNEXPECTED_ROWS} that finds what should not be there"
            )
        if name not in known and (known or not re.match(NAME, name)):
            raise unfit(f"expected one of Great Expectations' core expectations; found {value!r}", known)
        return name


EXPECTATIONS = [{"name": "expect_column_value_lengths_to_be_between", "arguments": {"column": "text", "min_value": 3}}]


class Validation(Options):
    """What rows must be like. A bad row goes to quarantine; a bad column or too many bad rows stop the run."""

    max_bad_share: Share = 0.05
    """Largest share of rows that may go to quarantine."""
    min_rows: Annotated[int, Field(ge=10)] = 100
    """Fewest good rows to go on with."""
    max_characters: Annotated[int, Field(ge=10, le=1_000_000)] = 10_000
    """A longer text is quarantined."""
    script: Script | None = Field(default=None, examples=["Latin"])
    """Unicode script that most letters of a text should be of, such as `Latin`. Others are quarantined."""
    outlier_deviations: Annotated[float, Field(gt=0)] | None = 8.0
    """A text whose log-length lies further than this many robust standard deviations from the median is quarantined."""
    expectations: tuple[Expectation, ...] = Field(default=(), examples=[EXPECTATIONS])
    """Further expectations. One on each value quarantines rows; one on a column's whole stops the run."""


LARGEST_HELD_OUT = 0.95


class Split(Options):
    """Which rows are for what. A hash of the group decides, so a row never changes sides."""

    test: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.2
    """Share of groups that are only ever judged on."""
    validation: Annotated[float, Field(gt=0.0, lt=0.9)] = 0.1
    """Share of groups for early stopping and calibration."""
    salt: str = "evertune"
    """Changes who is in the test set. Changing it makes old evaluations incomparable."""

    @field_validator("validation")
    @classmethod
    def _leaves_some_to_train_on(cls, value: float, info: ValidationInfo) -> float:
        if value + info.data.get("test", 0.0) > LARGEST_HELD_OUT:
            raise unfit(
                f"expected test and validation together at most {LARGEST_HELD_OUT}, so that rows are left to train on; "
                f"found {value + info.data['test']:g}"
            )
        return value


class Preparation(Options):
    """From valid rows to a dataset."""

    max_tokens: Annotated[int, Field(ge=8, le=8192)] = 128
    """Longer texts are cut, and counted."""
    near_duplicates: Annotated[float, Field(gt=0.0, le=1.0)] | None = 0.8
    """Jaccard similarity of shingles from which two texts count as the same, in data sets and in windows of traffic;
    none keeps near duplicates."""
    split: Split = Split()
    """Which rows are for what."""
