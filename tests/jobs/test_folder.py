"""What one job has finished is handed to another whole, and never from under a worker."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from evertune import files, jobs
from evertune.jobs import folder
from evertune.settings import Settings


@pytest.fixture
def ended(where: Settings) -> Path:
    """The folder of a job that ended in the middle."""
    made = where.jobs / "ended"
    (made / "half").mkdir(parents=True)
    (made / "half" / "0001").write_text("a checkpoint")
    files.write_json(made / "job.json", {"rows": 3})
    return made


def test_a_part_moves_and_nothing_else(where: Settings, ended: Path) -> None:
    assert jobs.hand_over(where, "ended", "new", "half")
    assert (where.jobs / "new" / "half" / "0001").read_text() == "a checkpoint"
    assert not (ended / "half").exists()
    assert (ended / "job.json").exists(), "only what was named"
    assert not jobs.hand_over(where, "ended", "new", "half"), "there is nothing left"


def test_a_job_that_has_begun_takes_nothing(where: Settings, ended: Path) -> None:
    files.write_json(where.jobs / "new" / "job.json", {})
    assert not jobs.hand_over(where, "ended", "new", "half")
    assert not jobs.hand_over(where, "ended", "newer", "done")
    assert (ended / "half").exists()


def test_nothing_is_taken_from_a_worker(where: Settings, ended: Path) -> None:
    with folder.take(ended / "lock"):
        assert not jobs.hand_over(where, "ended", "new", "half")
    assert (ended / "half").exists()


def test_a_worker_that_was_told_to_stop_is_waited_for(where: Settings, ended: Path) -> None:
    jobs.cancel(where, "ended")
    taken = threading.Event()

    def leaves_soon() -> None:
        with folder.take(ended / "lock"):
            taken.set()
            time.sleep(0.3)

    worker = threading.Thread(target=leaves_soon)
    worker.start()
    taken.wait(10)
    assert jobs.hand_over(where, "ended", "new", "half")
    worker.join()
