from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.models import tiny

from evertune.models import classifier, devices
from evertune.tuning import trainer


@pytest.fixture(autouse=True)
def _cudnn_as_torch_has_it() -> Iterator[None]:
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    torch.backends.cuda.enable_cudnn_sdp(True)
    yield
    torch.backends.cuda.enable_cudnn_sdp(before)


def test_the_device_is_cuda_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    for there, kind in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert devices.best().type == kind


def _trained(base: Path, made: Path) -> None:
    work = made.parent
    dataset = tiny.dataset(work / "dataset", base)
    trainer.Tuning(tiny.project(), dataset, base, work, report=tiny.ignore, cancelled=tiny.never)


def _loaded(_: Path, made: Path) -> None:
    classifier.load(made)


@pytest.mark.parametrize("ready", [_trained, _loaded])
def test_what_tunes_or_answers_never_waits_for_a_plan_of_cudnn(
    base: Path, made: Path, ready: Callable[[Path, Path], None]
) -> None:
    ready(base, made)
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
