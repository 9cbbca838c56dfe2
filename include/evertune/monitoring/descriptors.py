"""Figures of texts that need no model and no download: what people look at first when traffic has changed.

Words out of the vocabulary are counted against *half* of the reference, and the reference's own rows against the other
half. Against all of it the reference would have none, and every window would look new.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

WORD = re.compile(r"[^\W_]+(?:['\u2019][^\W_]+)*")
SENTENCE_END = re.compile(r"[.!?…\u3002\uff01\uff1f]+(?=\s|$)|\n+")
LONGEST = 20_000
"""Characters of a text that are looked at."""

NAMES = {
    "length": "characters",
    "words": "words",
    "sentences": "sentences",
    "non_letters": "share of characters that are no letters",
    "unknown_words": "share of words that the reference has not",
}
"""What each descriptor counts, in words."""

Column = NDArray[np.float64]


class Described(NamedTuple):
    """The descriptors of the reference's texts and of the traffic's, comparable with one another."""

    reference: dict[str, Column]
    traffic: dict[str, Column]


def described(reference: Sequence[str], traffic: Sequence[str]) -> Described:
    """Each descriptor of each text; a text without words has no share of unknown ones, which is NaN."""
    even, odd = vocabulary(reference[::2]), vocabulary(reference[1::2])
    told = {name: np.empty(len(reference)) for name in NAMES}
    for first, words in ((0, odd), (1, even)):
        for name, column in describe(reference[first::2], words).items():
            told[name][first::2] = column
    return Described(told, describe(traffic, even))


def vocabulary(texts: Sequence[str]) -> frozenset[str]:
    """The different words of these texts."""
    return frozenset(word for text in texts for word in words_of(text))


def words_of(text: str) -> list[str]:
    """The text's words, in small letters."""
    return WORD.findall(text[:LONGEST].lower())


def describe(texts: Sequence[str], known: frozenset[str]) -> dict[str, Column]:
    """Each descriptor of each text; ``known`` are the words that are not new."""
    rows = np.array([_row(text[:LONGEST], known) for text in texts], dtype=np.float64).reshape(len(texts), len(NAMES))
    return {name: rows[:, place] for place, name in enumerate(NAMES)}


def _row(text: str, known: frozenset[str]) -> tuple[float, ...]:
    words = words_of(text)
    return (
        len(text),
        len(words),
        len([part for part in SENTENCE_END.split(text) if part.strip()]),
        sum(not letter.isalpha() and not letter.isspace() for letter in text) / max(1, len(text)),
        sum(word not in known for word in words) / len(words) if words else np.nan,
    )
