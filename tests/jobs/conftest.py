from __future__ import annotations

import os
from pathlib import Path

import pytest

from evertune import settings as settings_module
from evertune.settings import Settings


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return settings_module.load({"EVERTUNE_HOME": str(tmp_path)})
