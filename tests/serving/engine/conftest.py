from __future__ import annotations

from pathlib import Path

import pytest
from tests.serving.engine import made

from evertune import files
from evertune.serving.engine import convert
from evertune.serving.engine.served import Served


@pytest.fixture
def served(tmp_path: Path) -> Served:
    """A release whose model is made up: what it answers can be told from the ids."""
    return made.served(made.tokenizer_folder(tmp_path))


@pytest.fixture(scope="session")
def fp32_engine(shared_bundle: Path) -> Path:
    """The shared bundle's engine in 32 bits. Not to be changed."""
    with files.new_folder(shared_bundle.parent / "fp32") as aside:
        convert.convert(shared_bundle, files.digest(shared_bundle), None, 0.003, aside)
    return shared_bundle.parent / "fp32"
