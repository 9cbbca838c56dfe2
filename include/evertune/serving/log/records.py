"""What is logged, and what is found again."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

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
    group: str | None = None
    """Hash of the document, conversation or customer that the text is of; rows of one group stay together."""


Origin = Literal["expert", "import", "correction"]
"""Who gave a label: a person who was asked, a tool that was, or whoever got the answer. In the order of trust."""


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
    origin: Origin = "correction"
    annotator: str | None = None
    """Who labelled, hashed; ``None`` where nobody but the key is known."""
    probability: float | None = None
    """Chance with which the answer was picked for labelling; ``None``: nobody picked it."""
    label: str | None = None
    """The class that it names, by the release that answered then; ``None``: none, or an older version kept it."""


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


def fields_of(kind: type[Answer | Feedback], found: Mapping[str, Any]) -> dict[str, Any]:
    """The record's fields. What an older version did not keep gets its default, what a newer one adds is left out."""
    defaults = kind._field_defaults
    given = {name: found.get(name) for name in kind._fields}
    return {name: defaults.get(name) if one is None else one for name, one in given.items()}
