"""Why this label: each word is left out in turn, and what the label's log-odds lose is the word's weight.

Occlusion (Zeiler & Fergus 2014; Li et al. 2016, arXiv 1612.08220) asks the very model that answers, 8 bits and all, and
needs no gradients. Weights of words that say the same are small, since the other one is still there.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from evertune.serving.engine.answers import Attribution
from evertune.serving.engine.served import Floats

_WORD = re.compile(r"\S+")
_LEAST = 1e-7
"""Probabilities nearer to 0 or 1 than 32 bits tell apart would make infinite log-odds."""


class Word(NamedTuple):
    """A word and where it stands."""

    text: str
    start: int
    end: int


def words(text: str, most: int) -> list[Word]:
    """The text's words, at most ``most``: each is a token at least, so the model sees no more."""
    found: list[Word] = []
    for match in _WORD.finditer(text):
        if len(found) == most:
            break
        found.append(Word(match.group(), match.start(), match.end()))
    return found


def variants(text: str, found: Sequence[Word]) -> list[str]:
    """The text without each of the words."""
    return [f"{text[: word.start].rstrip()} {text[word.end :].lstrip()}".strip() for word in found]


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
