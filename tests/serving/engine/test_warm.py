"""What loads and is still no good is found before it answers anybody, by a server and by batch scoring alike."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.serving.engine import made

from evertune import files
from evertune.loop import followed
from evertune.serving.engine import build
from evertune.serving.engine.answers import EngineError
from evertune.serving.engine.served import Floats, Served
from evertune.serving.engine.warm import WARM_ROWS, warm
from evertune.serving.origin import Fetched
from evertune.serving.shelf import Shelf
from evertune.settings import Settings


class Odd(made.Sums):
    """Answers what it is told to."""

    def __init__(self, logits: object = (0.0, 1.0), embedding: object = (1.0,)) -> None:
        super().__init__()
        self._logits, self._embedding = logits, embedding

    def run(self, rows: object, *, alone: bool = False) -> tuple[Floats, Floats]:
        assert isinstance(rows, list)
        self.batches.append(rows)
        found = (np.tile(np.asarray(one, np.float32), (len(rows), 1)) for one in (self._logits, self._embedding))
        return next(found), next(found)


NONSENSE = {
    "not a number": Odd((0.0, np.nan)),
    "without end": Odd((0.0, np.inf)),
    "too few labels": Odd((0.0,)),
    "no embedding": Odd(embedding=()),
    "an embedding that is none": Odd(embedding=(np.nan,)),
}


@pytest.mark.parametrize("name", NONSENSE)
def test_a_model_that_answers_nonsense_is_not_used(served: Served, name: str) -> None:
    with pytest.raises(files.CorruptError, match="It is not used"):
        warm(replace(served, model=NONSENSE[name]), None)


def test_a_temperature_that_is_none_is_found(served: Served) -> None:
    with pytest.raises(files.CorruptError, match="no probabilities"):
        warm(replace(served, temperature=float("nan")), None)


def test_recorded_texts_are_answered_in_a_batch_and_alone(served: Served, tmp_path: Path) -> None:
    checks = tmp_path / "checks.parquet"
    pq.write_table(pa.table({"text": ["good"] * (WARM_ROWS + 5)}), checks)
    warm(served, checks)
    assert sum(map(len, made.sums(served).batches)) == WARM_ROWS + 1
    assert made.sums(served).batches[-1:] == [made.sums(served).batches[0][:1]]


@pytest.mark.parametrize("name", ["not a number", "without end", "too few labels"])
def test_nonsense_is_never_a_label(served: Served, name: str) -> None:
    with pytest.raises(EngineError, match="not finite numbers"):
        replace(served, model=NONSENSE[name]).answer(["good"])


def test_batch_scoring_refuses_what_does_not_warm(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(followed.LedgerReleases, "fetch", lambda *_: Fetched(tmp_path, None, {}, 0.003))
    monkeypatch.setattr(build, "build", lambda *_: made.REPORT)
    monkeypatch.setattr(followed, "load_served", lambda *_: replace(served, model=NONSENSE["not a number"]))
    with pytest.raises(files.CorruptError, match="It is not used"):
        followed.served_here(where, served.release)


def test_batch_scoring_leaves_no_model_of_each_release_on_the_disk(
    served: Served, where: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A home whose models are asked by the batch alone has no server that would clear up."""
    monkeypatch.setattr(followed.LedgerReleases, "fetch", lambda *_: Fetched(tmp_path, None, {}, 0.003))
    monkeypatch.setattr(build, "build", lambda *_: made.REPORT)
    monkeypatch.setattr(followed, "load_served", lambda *_: served)
    for generation in (1, 2, 3):
        followed.served_here(where, made.release(served.release.project, generation))
    assert Shelf(where.home, served.release.project).generations() == [3]
