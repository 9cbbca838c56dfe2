"""What a text is made of when two texts are compared: sets of shingles, in two views.

*Words*: pairs of neighbouring words, casefolded, without punctuation. In scripts that write no space between words
(Chinese, Japanese, Thai, Khmer …) each character counts as a word, so the pairs are character bigrams; a text that
mixes both is handled piece by piece, and no language has to be guessed.

*Characters*: runs of four characters, for short texts only. Of a text of six words one typing error destroys two of
five word pairs, and the copy would pass for another text.

Two texts are near when their Jaccard similarity reaches the threshold in either view. Exact per-text sets, no hashing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise

SHORT_WORDS = 8
"""Texts of at most so many words are compared by characters as well."""
CHARACTERS = 4
"""Length of a character shingle."""

# Scripts without spaces between words, as Unicode blocks: Thai, Lao, Tibetan, Myanmar, Khmer, Tai Le to New Tai Lue,
# Tai Tham, kana, Bopomofo, Han with its extensions, Yi, Javanese. Hangul is spaced.
_UNSPACED = (
    "\u0e00-\u0fff\u1000-\u109f\u1780-\u17ff\u1950-\u19df\u1a20-\u1aaf\u3005-\u3007\u3040-\u312f\u31a0-\u31bf"
    "\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\ua000-\ua4cf\ua980-\ua9df\uf900-\ufaff\uff66-\uff9f"
    "\U0001b000-\U0001b16f\U00020000-\U000323af"
)
# Vowel signs and accents belong to their word, but `\w` leaves them out: Indic blocks, and the combining marks of
# Latin, Cyrillic, Hebrew and Arabic.
_MARKS = (
    "\u0300-\u036f\u0483-\u0487\u0591-\u05bd\u05bf\u05c1\u05c2\u05c4\u05c5\u05c7\u0610-\u061a\u064b-\u065f\u0670"
    "\u06d6-\u06dc\u06df-\u06e8\u06ea-\u06ed\u0900-\u0963\u0966-\u0dff\u1dc0-\u1dff\u20d0-\u20ff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|(?:[^\W{_UNSPACED}]|[{_MARKS}])+")

_ASCII_WORD = re.compile(r"\w+", re.ASCII)
"""The same on ASCII texts, and three times as fast."""

Shingles = frozenset[str]
View = Callable[[str], Shingles]


def units(text: str) -> list[str]:
    """Words, and single characters of unspaced scripts, casefolded, in order."""
    return (_ASCII_WORD if text.isascii() else _WORD).findall(text.casefold())


def words(text: str) -> Shingles:
    """Pairs of neighbouring units; of a text of one unit that unit; of a text without any (``!!!``) the text itself."""
    found = units(text)
    if len(found) > 1:
        return frozenset(map(" ".join, pairwise(found)))
    return frozenset(found) or frozenset((text,))


def characters(text: str) -> Shingles:
    """Runs of :data:`CHARACTERS` characters of a short text, words joined by one space; empty for a longer text."""
    found = units(text)
    if not 0 < len(found) <= SHORT_WORDS:
        return frozenset()
    joined = " ".join(found)
    return frozenset(joined[i : i + CHARACTERS] for i in range(max(1, len(joined) - CHARACTERS + 1)))


VIEWS: tuple[View, ...] = (words, characters)


def jaccard(left: Shingles, right: Shingles) -> float:
    """Size of the intersection over size of the union; 0 where either is empty."""
    common = len(left & right)
    return common / (len(left) + len(right) - common) if common else 0.0


def near(left: tuple[Shingles, ...], right: tuple[Shingles, ...], threshold: float) -> bool:
    """Whether two texts, each by its shingles in every view, are alike at or above ``threshold`` in any view."""
    return any(jaccard(one, other) >= threshold for one, other in zip(left, right, strict=True))
