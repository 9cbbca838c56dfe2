"""What `make up` prepares before it starts anything."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest
from scripts.installation import installation

from evertune.settings import Settings
from scripts import embedded


@pytest.mark.parametrize(("gpus", "slots"), [("0", "1"), ("1", "1"), ("3", "3")])
def test_a_training_is_let_in_also_where_it_is_to_run_on_the_cpu(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, gpus: str, slots: str
) -> None:
    called: list[list[str]] = []

    def note(command: list[str], **_: Any) -> subprocess.CompletedProcess[str]:
        called.append(command)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("EVERTUNE_GPUS", gpus)
    monkeypatch.setattr(subprocess, "run", note)
    embedded._prepare(installation())
    (pool,) = (command for command in called if "pools" in command)
    assert pool[-4:-1] == ["set", "gpu", slots]
