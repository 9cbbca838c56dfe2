from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
import transformers
from tests.models import tiny

from evertune import files
from evertune.records import UnfitError
from evertune.tuning import memory, methods


def test_what_is_needed_is_told_beside_what_is_there(base: Path, dataset: Path) -> None:
    found = memory.preflight(tiny.project(), dataset, base)
    assert 0 < found.needed < found.available
    held = sum(p.numel() for p in transformers.BertModel(tiny.config()).parameters())
    assert found.parameters == held


def test_trainable_weights_are_counted_as_they_are(base: Path, dataset: Path) -> None:
    for settings in ({}, {"freeze_embeddings": False}):
        project = tiny.project(**settings)
        model = methods.build(base, tiny.LABELS, project.tuning, torch.device("cpu"))
        really = sum(parameter.numel() for parameter in methods.trainable(model).values())
        assert memory.preflight(project, dataset, base).trainable == pytest.approx(really, rel=0.01)


@pytest.mark.parametrize(
    ("settings", "advice"),
    [({"tokens_per_batch": 4096}, "tokens_per_batch"), ({"method": "full"}, "tuning.method to lora"), ({}, "smaller")],
)
def test_too_little_memory_is_refused_with_advice(
    base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, object], advice: str
) -> None:
    monkeypatch.setattr(memory, "_available", lambda _: 10_000_000)
    with pytest.raises(UnfitError, match=advice):
        memory.preflight(tiny.project(**settings), dataset, base)


def test_more_tokens_need_more(base: Path, dataset: Path) -> None:
    small, large = (memory.preflight(tiny.project(tokens_per_batch=size), dataset, base).needed for size in (64, 65536))
    assert large > small


@pytest.mark.parametrize(("kind", "most"), [("bert", 8), ("roberta", 6)])
def test_rows_longer_than_the_model_are_refused(tmp_path: Path, dataset: Path, kind: str, most: int) -> None:
    short = tmp_path / "short"
    tiny.base(short)
    config = files.read_json(short / "config.json")
    config |= {"model_type": kind, "pad_token_id": 1, "max_position_embeddings": 8}
    (short / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnfitError, match=rf"Set preparation\.max_tokens to {most}\."):
        memory.preflight(tiny.project(), dataset, short)
