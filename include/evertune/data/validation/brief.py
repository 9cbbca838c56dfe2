"""Great Expectations' results as they are kept: plain JSON, short, and without harm in a browser."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

LONGEST = 200
"""Characters that are kept of a value."""
LOOK_ALIKES = str.maketrans("<>&\"'`", "\u2039\u203a\uff06\u201d\u2019\u2018")


def plain(value: Any) -> Any:
    """The value as JSON knows it: NumPy's scalars as Python's, what is no number as null."""
    if isinstance(value, dict):
        return {str(key): plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, set)):
        return [plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value if isinstance(value, (str, int, float, bool, type(None))) else str(value)


def harmless(value: Any) -> Any:
    """The value with look-alikes for the characters that HTML gives a meaning.

    Great Expectations 1.24 puts the values that it tables into its Data Docs unescaped: a text with a script in it
    would run in the browser of whoever looks why it was quarantined.
    """
    if isinstance(value, dict):
        return {harmless(key): harmless(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [harmless(entry) for entry in value]
    return value.translate(LOOK_ALIKES) if isinstance(value, str) else value


def brief(value: Any) -> Any:
    """:func:`plain`, without lists of row numbers, with long strings and lists cut."""
    if isinstance(value, dict):
        left_out = ("unexpected_list", "unexpected_index_list", "partial_unexpected_index_list", "exception_traceback")
        return {str(key): brief(entry) for key, entry in value.items() if key not in left_out}
    if isinstance(value, (list, tuple, set)):
        return [brief(entry) for entry in list(value)[:200]]
    value = plain(value)
    return value[:LONGEST] + "…" if isinstance(value, str) and len(value) > LONGEST else value
