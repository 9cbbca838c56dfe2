from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from tests.models import tiny

from evertune.models import bundle


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


@pytest.fixture
def made(tmp_path: Path, base: Path) -> Path:
    """A bundle of a random classifier."""
    bundle.write(tmp_path / "bundle", tiny.classifier(), base, tiny.LABELS, 32, temperature=2.0)
    return tmp_path / "bundle"
