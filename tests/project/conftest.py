"""Fixtures for the tests of project files."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from evertune.project.faults import ProjectError
from evertune.project.load import Fault, load

# A machine that is busy with other things is slow, not wrong.
settings.register_profile("busy", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("busy")

MINIMAL = """\
schema_version: 1
slug: tickets
owner: team@example.org
data:
  sources:
    - uri: tickets.csv
  columns: {text: body, label: queue}
"""

Write = Callable[..., Path]
Faults = Callable[[str], list[Fault]]


@pytest.fixture
def minimal() -> str:
    """The smallest valid project file."""
    return MINIMAL


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Write a text, or bytes, as a project file."""

    def write_(content: str | bytes = MINIMAL, name: str = "tickets.yaml") -> Path:
        path = tmp_path / "projects" / name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write_


@pytest.fixture
def faults(write: Write) -> Faults:
    """The faults of a file with this text; none is a failure of the test."""

    def faults_(content: str | bytes) -> list[Fault]:
        with pytest.raises(ProjectError) as caught:
            load(write(content))
        return list(caught.value.faults)

    return faults_
