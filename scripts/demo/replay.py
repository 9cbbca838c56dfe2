"""Traffic: sentences sent through the API, with what came back written down, so that a second start goes on."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np

from evertune.client import Client, ProblemError
from scripts.demo.rows import Sentence

BATCH = 20
"""Texts a request."""
PARALLEL = 4
"""Feedbacks on their way at once."""
STEADY_PAUSE_S = 0.5


@dataclass(frozen=True)
class Answered:
    """One answer, with what it should have been."""

    id: str
    phase: str
    truth: str
    label: str
    generation: int
    at: float
    """Unix seconds."""


class Replay:
    """What has been sent of each phase. The file is appended to after every request."""

    def __init__(self, client: Client, project: str, path: Path) -> None:
        """``path``: JSON Lines, one an answer; what is there already is not sent again."""
        self.client, self.project, self._path = client, project, path
        path.parent.mkdir(parents=True, exist_ok=True)
        self._writing = threading.Lock()

    def answered(self, *phases: str) -> list[Answered]:
        """All answers of these phases, oldest first; of all phases without any."""
        if not self._path.exists():
            return []
        whole = self._path.read_text("utf-8").splitlines()
        found = [Answered(**json.loads(line)) for line in whole if line.endswith("}")]
        return [one for one in found if not phases or one.phase in phases]

    def send(self, phase: str, sentences: Sequence[Sentence], tell: Callable[[int], object]) -> list[Answered]:
        """Send what of the phase has not been sent yet; ``tell`` hears how many have an answer."""
        done = len(self.answered(phase))
        for start in range(done, len(sentences), BATCH):
            self.ask(phase, sentences[start : start + BATCH])
            tell(min(start + BATCH, len(sentences)))
        return self.answered(phase)

    def ask(self, phase: str, sentences: Sequence[Sentence]) -> None:
        """One request."""
        texts, groups = [one.text for one in sentences], [one.group for one in sentences]
        found = self.client.predict(self.project, texts, groups=groups)
        now = datetime.now(UTC).timestamp()
        lines = [
            json.dumps(asdict(Answered(one.id or "", phase, said.truth, one.label, found.release.generation, now)))
            for one, said in zip(found.predictions, sentences, strict=True)
        ]
        with self._writing, self._path.open("a", encoding="utf-8") as stream:
            stream.write("".join(f"{line}\n" for line in lines))

    def label(self, phase: str, tell: Callable[[int], object]) -> int:
        """Send the truth of every answer of the phase as feedback; again, it changes nothing."""
        answers = self.answered(phase)
        with ThreadPoolExecutor(PARALLEL) as pool:
            sent = pool.map(lambda one: self.client.feedback(one.id, truth=one.truth), answers)
            for count, _ in enumerate(sent, 1):
                tell(count)
        return len(answers)


class Steady:
    """Traffic that goes on beside what the block does: one text at a time, round and round."""

    def __init__(self, replay: Replay, sentences: Sequence[Sentence]) -> None:
        """The sentences are asked one after the other, and then again from the first."""
        self._replay, self._sentences = replay, sentences
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._run, name="steady-traffic", daemon=True)
        self.asked = 0
        self.failed: list[str] = []

    def _run(self) -> None:
        while not self._end.wait(STEADY_PAUSE_S):
            sentence = self._sentences[self.asked % len(self._sentences)]
            self.asked += 1
            try:
                self._replay.ask("steady", [sentence])
            except ProblemError as fault:
                self.failed.append(str(fault))

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end.set()
        self._thread.join(timeout=60)


def f1(answers: Sequence[Answered]) -> float:
    """Macro F1 of the answers, of which there is at least one, against their truth."""
    from evertune.models.classifier import macro_f1

    names = sorted({name for one in answers for name in (one.truth, one.label)})
    truth, label = (
        np.array([names.index(name) for name in column])
        for column in ([one.truth for one in answers], [one.label for one in answers])
    )
    return macro_f1(truth, label, len(names))
