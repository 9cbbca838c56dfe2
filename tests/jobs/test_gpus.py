from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from evertune import files, jobs
from evertune.jobs import gpus
from evertune.settings import Settings

MODULE = "job_of_the_tests"


def attach(settings: Settings, payload: dict[str, Any]) -> dict[str, Any]:
    """The result of a worker: among others how many locks of GPUs there are, and which GPUs it sees."""
    return jobs.attach(settings, "job", MODULE, payload, lambda _: None, poll_s=0.02)


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch, settings: Settings) -> Settings:
    """Of a machine that has two GPUs."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    return settings.model_copy(update={"gpus": 2})


def test_a_job_takes_one_gpu_and_sees_no_other(two: Settings) -> None:
    with files.lock(two.home / "locks" / "gpu-0"):
        done = attach(two, {"gpu": True})
    assert (done["gpu"], done["devices"]) == (2, "7"), "GPU 0 was taken: the worker must have the second"


def test_more_trainings_than_there_are_gpus_do_not_share_one(two: Settings) -> None:
    def cancel(_: dict[str, Any]) -> None:
        jobs.cancel(two, "job")

    many, locks = two.model_copy(update={"gpus": 5}), two.home / "locks"
    with files.lock(locks / "gpu-0"), files.lock(locks / "gpu-1"), pytest.raises(jobs.CancelledError):
        jobs.attach(many, "job", MODULE, {"gpu": True}, cancel, poll_s=0.02)
    assert not (two.jobs / "job" / "starts").exists()
    (two.jobs / "job" / "cancel").unlink()
    with files.lock(locks / "gpu-0"):
        assert attach(many, {"gpu": True})["devices"] == "7"


def test_a_job_that_asks_for_none_takes_none(two: Settings) -> None:
    done = attach(two, {})
    assert (done["gpu"], done["devices"]) == (0, "4,7")


@pytest.mark.faults
def test_a_job_waits_for_a_gpu_and_says_so(two: Settings) -> None:
    seen: list[dict[str, Any]] = []

    def cancel(progress: dict[str, Any]) -> None:
        seen.append(progress)
        jobs.cancel(two, "job")

    locks = two.home / "locks"
    with files.lock(locks / "gpu-0"), files.lock(locks / "gpu-1"), pytest.raises(jobs.CancelledError):
        jobs.attach(two, "job", MODULE, {"gpu": True}, cancel, poll_s=0.02)
    assert seen == [{"phase": "waiting for a GPU"}]
    assert not (two.jobs / "job" / "starts").exists()


@pytest.mark.parametrize(("visible", "allowed"), [("4,7", 0), ("", 2), ("-1", 2)])
def test_without_a_gpu_to_use_the_job_runs_on_the_cpu(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, visible: str, allowed: int
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    done = attach(settings.model_copy(update={"gpus": allowed}), {"gpu": True})
    assert (done["gpu"], done["devices"]) == (0, "")


def test_the_gpus_are_those_that_cuda_may_see_else_those_of_the_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert gpus.devices() == []
    for name in ("nvidia0", "nvidia1", "nvidiactl", "nvidia-uvm"):
        (tmp_path / name).touch()
    assert gpus.devices() == ["0", "1"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    assert gpus.devices() == ["1"]


def test_a_machine_without_device_files_is_asked_by_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpus, "_DEVICES", tmp_path)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    smi = tmp_path / "nvidia-smi"
    smi.write_text("#!/bin/sh\necho 'GPU 0: NVIDIA RTX (UUID: GPU-1)'\necho 'GPU 1: NVIDIA RTX (UUID: GPU-2)'\n")
    smi.chmod(0o755)
    assert gpus.devices() == ["0", "1"]
    smi.write_text("#!/bin/sh\necho 'no driver'; exit 9\n")
    assert gpus.devices() == []
