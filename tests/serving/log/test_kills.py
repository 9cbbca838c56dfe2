"""A real process is killed while it writes; the hundred kills of the claim are in ``benchmarks/log.py``."""

from __future__ import annotations

from pathlib import Path

import pytest
from benchmarks._log_process import CLIENTS
from benchmarks.log import kill_a_process


@pytest.mark.faults
def test_kill_9_under_load_loses_nothing_that_was_acknowledged_and_doubles_nothing(tmp_path: Path) -> None:
    found = kill_a_process(tmp_path, kills=8, seed=3)
    assert found.acknowledged > 100
    assert (found.lost, found.doubled, found.wrong_rows) == (0, 0, 0), found
    assert found.rows > 8
    assert found.unacknowledged <= 8 * CLIENTS * 4, "only what was being written at the kills"
