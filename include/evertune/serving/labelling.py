"""Labels that people or tools give for answers: all of a batch checked before any of it is kept."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import NamedTuple, Protocol

from evertune.serving.log.records import Answer, Feedback, Origin
from evertune.serving.picks import Picks
from evertune.text import pseudonym

LONGEST_NAME = 200


class Given(NamedTuple):
    """A label for an answer, as it came in."""

    where: str
    """Its place, for people: ``body.labels[3]``, ``line 4``."""
    id: str
    label: str
    pick: str | None
    annotator: str | None


class Wrong(NamedTuple):
    """What cannot be kept, and why."""

    where: str
    what: str


@dataclass(frozen=True, slots=True)
class Labelling:
    """What labels are checked by, and what is kept with each."""

    project: str
    classes: Collection[str]
    """The labels there are."""
    picks: Picks
    origin: Origin
    key_id: str
    salt: str
    """Of the hashes that stand for annotators."""
    at: datetime

    def feedback(self, given: Sequence[Given], answers: Mapping[str, Answer]) -> tuple[list[Feedback], list[Wrong]]:
        """What to keep, each answer's label once; and all that is wrong, which lets nothing be kept."""
        kept: dict[str, tuple[Given, Feedback]] = {}
        wrong: list[Wrong] = []
        for one in given:
            answer = answers.get(one.id)
            probability = self._chance(one)
            faults = self._faults(one, answer, probability, kept.get(one.id))
            wrong += faults
            if answer is not None and not faults:
                kept.setdefault(one.id, (one, self._record(one, answer, probability)))
        return ([] if wrong else [record for _, record in kept.values()]), wrong

    def _chance(self, one: Given) -> float | None:
        return None if one.pick is None else self.picks.read(self.project, one.id, one.pick)

    def _faults(
        self, one: Given, answer: Answer | None, probability: float | None, before: tuple[Given, Feedback] | None
    ) -> list[Wrong]:
        found = []
        if answer is None:
            found.append(Wrong(f"{one.where}.id", "names no answer of this project that this key may see"))
        if one.label not in self.classes:
            some = ", ".join(list(self.classes)[:10]) + (", …" if len(self.classes) > 10 else "")
            found.append(Wrong(f"{one.where}.label", f"is none of the project's labels: {some}"))
        if one.pick is None and self.origin == "expert":
            found.append(Wrong(f"{one.where}.pick", "is missing: send it back as the queue gave it"))
        if one.pick is not None and probability is None and answer is not None:
            found.append(Wrong(f"{one.where}.pick", "is not what the queue gave for this answer"))
        if one.annotator is not None and not 0 < len(one.annotator) <= LONGEST_NAME:
            found.append(Wrong(f"{one.where}.annotator", f"must have 1 to {LONGEST_NAME} characters"))
        if before is not None and before[0].label != one.label:
            found.append(Wrong(f"{one.where}.label", f"is another than {before[0].where} has for the same answer"))
        return found

    def _record(self, one: Given, answer: Answer, probability: float | None) -> Feedback:
        return Feedback(
            project=self.project,
            prediction_id=one.id,
            generation=answer.generation,
            predicted=str(answer.output.get("label")),
            truth=one.label,
            correction=None,
            thumbs=None,
            comment=None,
            key_id=self.key_id,
            at=self.at,
            origin=self.origin,
            annotator=pseudonym(one.annotator, self.project, self.salt) if one.annotator else None,
            probability=probability,
            label=one.label,
        )


class Drawn(NamedTuple):
    """An answer that somebody should label."""

    id: str
    text: str
    scores: dict[str, float]
    """Label → probability."""
    probability: float
    """The chance with which it was drawn."""
    why: str


class Reviewing(Protocol):
    """What draws answers to label."""

    def draw(self, project: str) -> list[Drawn]:
        """Answers to label, in no order that says anything of them. May block."""
        ...

    def labelled(self, project: str, ids: set[str]) -> None:
        """These have a label now: they are not drawn again."""
        ...


class NoReview:
    """Draws nothing."""

    def draw(self, project: str) -> list[Drawn]:  # noqa: ARG002 - as the protocol has it
        """Nothing."""
        return []

    def labelled(self, project: str, ids: set[str]) -> None:
        """Nothing to remember."""
