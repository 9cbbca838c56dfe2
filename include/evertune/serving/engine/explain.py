"""Why this label: each word is left out in turn, and what the label's log-odds lose is the word's weight.

Occlusion (Zeiler & Fergus 2014; Li et al. 2016, arXiv 1612.08220) asks the very model that answers, 8 bits and all, and
needs no gradients. Weights of words that say the same are small, since the other one is still there.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evertune.serving.engine.answers import Attribution
from evertune.serving.engine.served import Floats

_SPACELESS = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u2e80-\u9fff\uf900-\ufaff\uff66-\uff9f\U00020000-\U0003ffff]"
)
"""Thai, Lao, Burmese, Khmer, Chinese and Japanese put no spaces between words: there a token is the smallest part."""
_LEAST = 1e-7
"""Probabilities nearer to 0 or 1 than 32 bits tell apart would make infinite log-odds."""


class Word(NamedTuple):
    """A word and where it stands."""

    text: str
    start: int
    end: int


def words(text: str, spans: Sequence[tuple[int, int]]) -> list[Word]:
    """The words that the model sees, of the places of the tokens that it sees: no more of them than of those.

    The tokens of a word between spaces are one; where a writing has no spaces between words, each token is.
    """
    found: list[tuple[int, int]] = []
    for first, last in spans:
        start = first + len(text[first:last]) - len(text[first:last].lstrip())  # some tokenizers give it the space
        if start >= last:
            continue
        if found and (start < found[-1][1] or not _parts(text, found[-1][1], start)):
            found[-1] = (found[-1][0], max(last, found[-1][1]))
        else:
            found.append((start, last))
    return [Word(text[start:end], start, end) for start, end in found]


def _parts(text: str, end: int, start: int) -> bool:
    """Whether a word ends at ``end`` and another one begins at ``start``."""
    if any(one.isspace() for one in text[end:start]):
        return True
    mark = unicodedata.category(text[start]).startswith("M")  # a vowel or tone of the letter before
    return not mark and bool(_SPACELESS.match(text[start]) or _SPACELESS.match(text[end - 1]))


def variants(text: str, found: Sequence[Word]) -> list[str]:
    """What the model sees of the text without each of the words.

    What it does not see stays away: were the end of a cut text let in, the weight would be that of the newcomers.
    """
    seen = text[: found[-1].end] if found else ""
    return [_without(seen, word) for word in found]


def _without(seen: str, word: Word) -> str:
    before, after = seen[: word.start], seen[word.end :]
    between = " " if before[-1:].isspace() or after[:1].isspace() else ""
    return f"{before.rstrip()}{between}{after.lstrip()}".strip()


def weights(found: Sequence[Word], whole: Floats, without: Floats | None) -> tuple[Attribution, ...]:
    """The words' weights, from the probabilities ``[classes]`` of the text and ``[words, classes]`` without each."""
    if without is None:
        return ()
    label = int(whole.argmax())
    drops = _log_odds(whole[label]) - _log_odds(without[:, label])
    return tuple(Attribution(*word, weight) for word, weight in zip(found, drops.tolist(), strict=True))


def _log_odds(share: Floats | np.float32) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    clipped = np.clip(np.asarray(share, np.float64), _LEAST, 1 - _LEAST)
    return np.asarray(np.log(clipped) - np.log1p(-clipped))
