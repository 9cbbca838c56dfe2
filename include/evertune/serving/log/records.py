"""What is logged, and what is found again."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Literal, NamedTuple

from evertune.records import EvertuneError, JsonObject

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class LogError(EvertuneError):
    """The record was not logged, and so the answer must not be sent."""


class LogFullError(LogError):
    """The disk is full. What was acknowledged before is safe; logging goes on as soon as there is room."""


class Answer(NamedTuple):
    """One answer. ``text`` is redacted and normalised already: what the model saw, and nothing else, is kept."""

    project: str
    generation: int
    model_version: int
    digest: str
    text: str
    output: JsonObject
    """``label``, ``scores``, ``cut``, ``tokens``, and what a later version adds."""
    embedding: NDArray[np.float16] | None
    key_id: str
    received: datetime
    answered: datetime


class Feedback(NamedTuple):
    """What somebody says of one answer. Many may be given; all are kept, the last one counts."""

    project: str
    prediction_id: str
    generation: int
    predicted: str
    truth: str | None
    correction: str | None
    thumbs: Literal["up", "down"] | None
    comment: str | None
    """Redacted by the caller, like the text of an answer."""
    key_id: str
    at: datetime


class StoredAnswer(NamedTuple):
    """An answer as it lies in the log."""

    id: str
    segment: int
    offset: int
    answer: Answer


class StoredFeedback(NamedTuple):
    """A feedback as it lies in the log."""

    id: str
    segment: int
    offset: int
    feedback: Feedback
