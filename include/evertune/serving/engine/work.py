"""Requests as the engine's threads work on them: their rows, what has been answered, and what is put together."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from evertune.serving.engine.answers import DeadlineError, Prediction
from evertune.serving.engine.explain import Word, variants, weights, words
from evertune.serving.engine.served import Encoded, Floats, Served

OPENED_AT_ONCE = 64
"""Texts of a request that are tokenised in one go."""


@dataclass(eq=False)
class Request:
    """What was submitted. The loop owns ``future``; the engine's threads, under a lock, what is below."""

    served: Served
    texts: Sequence[str]
    explain: bool
    deadline: float
    cost: int
    """Estimated tokens, which the bound of the queue counts."""
    future: asyncio.Future[list[Prediction]]
    loop: asyncio.AbstractEventLoop
    encoded: list[Encoded] = field(default_factory=list)
    words: list[list[Word]] = field(default_factory=list)
    scores: list[list[Floats | None]] = field(default_factory=list)
    """A text's probabilities, and then those of the text without each word."""
    embeddings: list[Floats | None] = field(default_factory=list)
    missing: int = 0
    """Rows that were opened and are still to be computed."""
    over: bool = False
    """Whether it has an answer or a fault: what is left of it is then dropped."""

    @property
    def lane(self) -> tuple[str, bool]:
        """Requests of one lane are answered in order, and share a part of the queue.

        Explanations, which are long, have lanes of their own: one may be larger than a part, and would leave nothing of
        it for plain answers.
        """
        return self.served.release.project, self.explain

    @property
    def opened(self) -> bool:
        """Whether all its texts have become rows."""
        return len(self.encoded) == len(self.texts)

    def dropped(self, now: float) -> BaseException | None:
        """Why nothing more is to be computed for it: nobody waits any more, or its time has run out."""
        if self.future.done():
            return asyncio.CancelledError()
        return DeadlineError("The time for the answer has run out.") if now >= self.deadline else None

    def open(self) -> list[Row]:
        """Clean and tokenise its next texts; the rows to be computed for them.

        A few at a time, so that a long request does not hold up those of other projects.
        """
        first = len(self.encoded)
        texts = self.texts[first : first + (1 if self.explain else OPENED_AT_ONCE)]
        rows = []
        for text, one in enumerate(self.served.encode(texts), start=first):
            found = words(one.text, self.served.spans(one.text)) if self.explain else []
            without = self.served.encode_cleaned(variants(one.text, found)) if found else []
            rows += [Row(self, text, part, made.ids) for part, made in enumerate([one, *without])]
            self.encoded.append(one)
            self.words.append(found)
            self.scores.append([None] * (1 + len(found)))
            self.embeddings.append(None)
        self.missing += len(rows)
        return rows

    def take(self, row: Row, scores: Floats, embedding: Floats) -> bool:
        """Note one row's result; whether it was the last."""
        self.scores[row.text][row.part] = scores
        if row.part == 0:
            self.embeddings[row.text] = embedding
        self.missing -= 1
        return self.missing == 0 and self.opened

    def predictions(self) -> list[Prediction]:
        """The answers, in the order of the texts."""
        found = []
        for one, scores, embedding, found_words in zip(
            self.encoded, self.scores, self.embeddings, self.words, strict=True
        ):
            whole, *without = (part for part in scores if part is not None)
            assert embedding is not None  # noqa: S101 - nothing is missing
            left_out = np.stack(without) if without else None
            why = weights(found_words, whole, left_out) if self.explain else None
            found.append(self.served.prediction(one, whole, embedding, why))
        return found


class Row(NamedTuple):
    """One row of token ids to compute."""

    request: Request
    text: int
    part: int
    """0: the text itself; n: the text without its n-th word."""
    ids: list[int]


def cost(served: Served, texts: Sequence[str], *, explained: bool) -> int:
    """Tokens of the texts, estimated without tokenising: what admission is decided by, on the event loop."""
    total = 0
    for text in texts:
        # Where it is not ASCII, a character may be a token of its own, and a word.
        odd = 0 if text.isascii() else len(text) - len(text.encode("ascii", "ignore"))
        tokens = min(served.max_tokens, 4 + len(text) // 3 + odd)
        total += tokens * (1 + min(tokens, len(text.split()) + odd)) if explained else tokens
    return total
