from __future__ import annotations

import errno
import importlib.metadata
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from tests.models import tiny

from evertune import files
from evertune.jobs import CancelledError
from evertune.models import bundle, classifier, forward, tensors
from evertune.project.options import Method
from evertune.records import EvertuneError, UnfitError
from evertune.tuning import batches, trainer

Train = Callable[..., trainer.TuningResult]
OFTEN = 1e-9
"""Seconds between checkpoints: one after every step."""


@pytest.mark.parametrize("method", list(Method))
def test_it_learns_and_gives_a_bundle_that_answers(train: Train, tmp_path: Path, method: Method) -> None:
    rate = 5e-3 if method is Method.FULL else 1e-3
    result = train("one", method=method, epochs=8, learning_rate=rate, early_stopping=None)
    found = classifier.load(tmp_path / "one" / "bundle", result.digest)
    texts = tiny.sentences(60, seed=99)
    answers = found.probabilities([words for words, _ in texts]).argmax(1)
    assert (answers == [label for _, label in texts]).mean() > (0.85 if method is Method.FULL else 0.7)
    assert found.labels == tiny.LABELS
    last = result.curve[-1]
    assert last["validation_loss"] < np.log(2)
    assert {"step", "loss", "learning_rate", "f1"} <= set(last)


@pytest.mark.parametrize("method", list(Method))
def test_the_same_seed_gives_the_same_weights(train: Train, method: Method) -> None:
    one, two = train("one", method=method), train("two", method=method)
    assert one.digest == two.digest
    assert [entry["loss"] for entry in one.curve] == [entry["loss"] for entry in two.curve]
    assert train("other", method=method, seed=18).digest != one.digest


class KilledError(Exception):
    """Stands for kill -9 in this process: nothing of the trainer gets to run after it."""


def _stop_after(count: int) -> Callable[[], bool]:
    calls = iter(range(count))

    def cancelled() -> bool:
        if next(calls, None) is None:
            raise KilledError
        return False

    return cancelled


@pytest.mark.parametrize(("steps", "method"), [(1, "full"), (7, "lora"), (17, "full"), (19, "lora")])
def test_a_resumed_tuning_ends_with_the_same_weights(  # noqa: PLR0917 - fixtures
    train: Train, tmp_path: Path, base: Path, dataset: Path, method: str, steps: int
) -> None:
    settings: dict[str, Any] = {"method": method, "evaluations_per_epoch": 2}
    whole = train("whole", **settings)
    work, project = tmp_path / "cut", tiny.project(**settings)
    often = tiny.project(**settings, checkpoint_s=OFTEN)
    with pytest.raises(KilledError):
        trainer.train(often, dataset, base, work, work / "bundle", tiny.ignore, _stop_after(steps))
    assert len(list((work / "checkpoints").iterdir())) == min(steps, 2)
    told: list[trainer.Progress] = []
    result = trainer.train(project, dataset, base, work, work / "bundle", told.append, tiny.never)
    assert told[0].step == steps
    assert result.digest == whole.digest
    losses = [[(entry["step"], entry["loss"]) for entry in r.curve] for r in (result, whole)]
    assert losses[0] == losses[1]


def test_a_damaged_checkpoint_falls_back_to_the_one_before(
    train: Train, tmp_path: Path, base: Path, dataset: Path
) -> None:
    whole = train("whole")
    work, project = tmp_path / "cut", tiny.project()
    with pytest.raises(KilledError):
        trainer.train(
            tiny.project(checkpoint_s=OFTEN), dataset, base, work, work / "bundle", tiny.ignore, _stop_after(9)
        )
    newest = max((work / "checkpoints").iterdir())
    tiny.spoil(newest / "state.safetensors", tiny.flip)
    told: list[trainer.Progress] = []
    result = trainer.train(project, dataset, base, work, work / "bundle", told.append, tiny.never)
    assert told[0].step == 8
    assert result.digest == whole.digest


def test_other_settings_do_not_go_on_from_an_old_checkpoint(tmp_path: Path, base: Path, dataset: Path) -> None:
    work = tmp_path / "cut"
    with pytest.raises(KilledError):
        trainer.train(
            tiny.project(checkpoint_s=OFTEN), dataset, base, work, work / "bundle", tiny.ignore, _stop_after(5)
        )
    told: list[trainer.Progress] = []
    trainer.train(tiny.project(epochs=1, seed=3), dataset, base, work, work / "bundle", told.append, tiny.never)
    assert told[0].step == 0


@pytest.mark.parametrize("library", ["torch", "transformers", "peft"])
def test_another_version_of_a_library_does_not_go_on_from_an_old_checkpoint(
    tmp_path: Path, base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    made = (tiny.project(), dataset, base, tmp_path)
    before = trainer.Tuning(*made, report=tiny.ignore, cancelled=tiny.never).inputs
    assert trainer.Tuning(*made, report=tiny.ignore, cancelled=tiny.never).inputs == before
    monkeypatch.setattr(trainer, "version", lambda name: "0" if name == library else importlib.metadata.version(name))
    assert trainer.Tuning(*made, report=tiny.ignore, cancelled=tiny.never).inputs != before


def test_cancelling_stops_before_the_next_step(tmp_path: Path, base: Path, dataset: Path) -> None:
    work, told = tmp_path / "w", list[trainer.Progress]()
    with pytest.raises(CancelledError, match="step 0"):
        trainer.train(tiny.project(), dataset, base, work, work / "bundle", told.append, lambda: True)
    assert not (work / "bundle").exists()


def test_the_best_weights_are_kept_and_it_stops_when_they_get_no_better(train: Train, tmp_path: Path) -> None:
    # At this rate the model soon only gets worse.
    result = train("one", epochs=40, learning_rate=0.05, early_stopping=2, evaluations_per_epoch=1)
    losses = [entry["validation_loss"] for entry in result.curve if "validation_loss" in entry]
    assert len(losses) < 40
    assert min(losses) in losses[:-2]
    best = next(entry["step"] for entry in result.curve if entry.get("validation_loss") == min(losses))
    assert result.best_step == best
    assert result.steps > best


def test_lora_is_merged_into_plain_weights(train: Train, tmp_path: Path, base: Path) -> None:
    train("one", method="lora")
    held = tensors.load(tmp_path / "one" / "bundle" / "model.safetensors")
    assert not [name for name in held if "lora" in name or "base_layer" in name]
    plain = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path / "one" / "bundle")
    before = tensors.load(base / "model.safetensors")
    name = "encoder.layer.0.attention.self.query.weight"
    assert not torch.equal(plain.get_parameter(f"bert.{name}"), before[name])
    assert torch.equal(held["bert.embeddings.word_embeddings.weight"], before["embeddings.word_embeddings.weight"])


def test_embeddings_move_only_when_asked_to(train: Train, tmp_path: Path, base: Path) -> None:
    before = tensors.load(base / "model.safetensors")["embeddings.word_embeddings.weight"]
    for name, frozen in (("frozen", True), ("free", False)):
        train(name, freeze_embeddings=frozen, epochs=1)
        after = tensors.load(tmp_path / name / "bundle" / "model.safetensors")["bert.embeddings.word_embeddings.weight"]
        assert torch.equal(before, after) is frozen


def test_rare_classes_weigh_more_when_asked_to(base: Path, dataset: Path, tmp_path: Path) -> None:
    project = tiny.project(class_weights=True)
    tuning = trainer.Tuning(project, dataset, base, tmp_path, report=tiny.ignore, cancelled=tiny.never)
    truth = batches.load(dataset, "train").truth
    counts = np.bincount(truth)
    assert tuning.class_weights is not None
    weights = tuning.class_weights.numpy()
    np.testing.assert_allclose(weights[0] / weights[1], counts[1] / counts[0], rtol=1e-5)
    np.testing.assert_allclose(weights[truth].mean(), 1.0, rtol=1e-5)


def test_the_temperature_is_in_the_bundle(train: Train, tmp_path: Path) -> None:
    result = train("one", epochs=6)
    assert result.temperature != 1.0
    assert bundle.facts(tmp_path / "one" / "bundle").temperature == result.temperature


def test_progress_rises_and_tells_the_time_left(train: Train, tmp_path: Path, base: Path, dataset: Path) -> None:
    told: list[trainer.Progress] = []
    work = tmp_path / "w"
    trainer.train(tiny.project(), dataset, base, work, work / "bundle", told.append, tiny.never)
    assert [entry.step for entry in told] == sorted(entry.step for entry in told)
    assert {entry.phase for entry in told} == {"tune", "validate", "write"}
    last = told[-1]
    assert last.step == last.steps
    assert last.epoch == 3
    assert last.seconds_left == 0
    assert last.tokens_per_s > 0
    assert set(last.metrics()) >= {"loss", "validation_loss", "f1", "learning_rate", "tokens_per_s"}


def test_a_loss_that_is_no_number_is_told_with_advice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainer, "cross_entropy", lambda logits, *_, **__: logits.sum() * float("nan"))
    with pytest.raises(UnfitError, match=r"Lower tuning\.learning_rate"):
        train("one")


def test_memory_that_runs_out_in_a_step_is_told_with_advice(train: Train, monkeypatch: pytest.MonkeyPatch) -> None:
    def short(*_: object) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory.")

    monkeypatch.setattr(forward, "logits", short)
    with pytest.raises(UnfitError, match=r"To make it fit: set tuning.method to lora"):
        train("short", method="full", tokens_per_batch=128)


def test_a_full_disk_is_told_and_keeps_the_earlier_checkpoints(
    tmp_path: Path, base: Path, dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    work, project = tmp_path / "w", tiny.project(checkpoint_s=OFTEN)
    real, written = tensors.save, iter(range(3))

    def full(path: Path, held: dict[str, torch.Tensor]) -> None:
        real(path, held)
        if next(written, None) is None:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    monkeypatch.setattr(tensors, "save", full)
    with pytest.raises(EvertuneError, match="disk is full") as caught:
        trainer.train(project, dataset, base, work, work / "bundle", tiny.ignore, tiny.never)
    assert not isinstance(caught.value, UnfitError)
    kept = sorted(path.name for path in (work / "checkpoints").iterdir())
    assert kept == ["000000002", "000000003"]
    for name in kept:
        files.verify(work / "checkpoints" / name)


CHILD = """
import sys
from pathlib import Path
from evertune.tuning import trainer
from tests.models import tiny
base, dataset, work = map(Path, sys.argv[1:4])
result = trainer.train(tiny.project(checkpoint_s=1e-9, epochs=20, early_stopping=None), dataset, base, work,
                       work / "bundle", tiny.ignore, tiny.never)
print(result.digest)
"""


def _child(base: Path, dataset: Path, work: Path) -> subprocess.Popen[str]:
    root = Path(__file__).resolve().parents[2]
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, str(base), str(dataset), str(work)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": f"{root}:{root / 'include'}"},
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.faults
def test_kill_9_in_the_middle_then_again_gives_the_same_weights(tmp_path: Path, base: Path, dataset: Path) -> None:
    whole, _ = _child(base, dataset, tmp_path / "whole").communicate(timeout=600)
    for _ in range(3):
        child = _child(base, dataset, tmp_path / "cut")
        before = _steps(tmp_path / "cut")
        while child.poll() is None and _steps(tmp_path / "cut") < before + 10:
            time.sleep(0.01)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        assert not (tmp_path / "cut" / "bundle").exists()
    resumed, _ = _child(base, dataset, tmp_path / "cut").communicate(timeout=600)
    assert "resumed from a checkpoint" in resumed
    assert resumed.splitlines()[-1] == whole.strip()
    assert len(whole.strip()) == 64


def _steps(work: Path) -> int:
    return max((int(path.name) for path in (work / "checkpoints").glob("[0-9]*")), default=0)
