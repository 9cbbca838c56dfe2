"""Fixtures for all rooms."""

from __future__ import annotations

from pathlib import Path

import pytest

from evertune.settings import Settings, load

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture
def where(tmp_path: Path) -> Settings:
    """Settings whose home and projects are this test's own."""
    return load({"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_PROJECTS": str(tmp_path / "projects")})
