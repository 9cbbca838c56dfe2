from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models import tiny

from evertune.tuning import trainer


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Two threads on matrices this small only wait for each other, the longer the busier the machine."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny.base(tmp_path_factory.mktemp("base") / "base")


@pytest.fixture(scope="session")
def dataset(tmp_path_factory: pytest.TempPathFactory, base: Path) -> Path:
    return tiny.dataset(tmp_path_factory.mktemp("dataset") / "dataset", base)


@pytest.fixture
def train(tmp_path: Path, base: Path, dataset: Path) -> Callable[..., trainer.TuningResult]:
    """Train in ``tmp_path/NAME`` with these settings of tuning; ``NAME/bundle`` is the bundle."""

    def call(name: str, **tuning: Any) -> trainer.TuningResult:
        work = tmp_path / name
        return trainer.train(tiny.project(**tuning), dataset, base, work, work / "bundle", tiny.ignore, tiny.never)

    return call
