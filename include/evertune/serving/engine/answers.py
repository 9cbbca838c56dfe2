"""What the engine answers, and why it sometimes does not."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from evertune.records import EvertuneError


class Attribution(NamedTuple):
    """How much one word spoke for the answer."""

    word: str
    start: int
    """First character of the word in :attr:`Prediction.text`."""
    end: int
    """One past its last character."""
    weight: float
    """Log-odds of the predicted label that are lost when the word is left out; below 0 it spoke against."""


class Prediction(NamedTuple):
    """The answer to one text."""

    label: str
    scores: tuple[float, ...]
    """Calibrated probabilities, in the order of the release's labels."""
    embedding: NDArray[np.float16]
    """Mean of the hidden states over the text's tokens: ``[width]``."""
    text: str
    """What the model saw and the log keeps: redacted, normalised."""
    cut: bool
    """Whether the text was longer than the model takes, and its end was not seen."""
    tokens: int
    """Tokens that the model saw, its own frame included."""
    attributions: tuple[Attribution, ...] | None = None
    """A weight for each word, where an explanation was asked for."""


class OverloadedError(EvertuneError):
    """The queue is full, or the server is ending: the request was not accepted."""

    def __init__(self, retry_after_s: float, why: str = "") -> None:
        super().__init__(why or f"Too many texts are waiting. Try again in {retry_after_s:.1f} s.")
        self.retry_after_s = retry_after_s


class DeadlineError(EvertuneError):
    """The request's time ran out before its answer was computed; what was left of it was dropped."""


class EngineError(EvertuneError):
    """The model failed on a batch. The requests of that batch have no answer; the next ones are not touched."""
