from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from evertune import files, jobs
from evertune.records import EvertuneError, StaleError, UnfitError, UnreachableError
from evertune.settings import Settings

MODULE = "job_of_the_tests"


def attach(settings: Settings, payload: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    seen: list[dict[str, Any]] = options.pop("seen", [])
    return jobs.attach(settings, "job", MODULE, payload or {}, seen.append, poll_s=0.02, **options)


def starts(settings: Settings) -> int:
    return len((settings.jobs / "job" / "starts").read_text().split())


def test_a_result_that_is_there_is_returned_and_nothing_started(settings: Settings) -> None:
    seen: list[dict[str, Any]] = []
    first = attach(settings, {"steps": 3, "step_s": 0.1}, seen=seen)
    assert first["session"], "the worker must lead a session of its own"
    assert {"step": 3} in seen
    assert attach(settings, {"steps": 3, "step_s": 0.1}) == first
    assert starts(settings) == 1


@pytest.mark.parametrize(
    "spoil",
    [
        "torn",
        pytest.param("flipped", marks=pytest.mark.faults),
        pytest.param("no_json", marks=pytest.mark.faults),
        pytest.param("other_payload", marks=pytest.mark.faults),
    ],
)
def test_a_result_that_cannot_be_believed_is_made_again(settings: Settings, spoil: str) -> None:
    path = settings.jobs / "job" / "result.json"
    attach(settings, {"steps": 1} if spoil == "other_payload" else {})
    text = path.read_text()
    changed = {"torn": text[: len(text) // 2], "flipped": text.replace("true", "false"), "no_json": "[]"}
    path.write_text(changed.get(spoil, text))
    assert attach(settings)["session"]
    assert starts(settings) == 2
    assert json.loads(path.read_text())["payload"] == files.hash_of({})


@pytest.mark.parametrize(
    ("fault", "raised", "started"),
    [
        ("UnfitError", UnfitError, 1),
        pytest.param("OwnError", UnfitError, 1, marks=pytest.mark.faults),
        pytest.param("StaleError", StaleError, 1, marks=pytest.mark.faults),
        pytest.param("UnreachableError", UnreachableError, 2, marks=pytest.mark.faults),
        pytest.param("EvertuneError", EvertuneError, 1, marks=pytest.mark.faults),
        pytest.param("ValueError", EvertuneError, 2, marks=pytest.mark.faults),
    ],
)
def test_the_workers_fault_is_raised_again(
    settings: Settings, fault: str, raised: type[EvertuneError], started: int
) -> None:
    with pytest.raises(EvertuneError, match="as the payload says") as caught:
        attach(settings, {"fault": fault}, attempts=2)
    assert type(caught.value) is raised
    assert caught.value.exit_code == raised.exit_code
    assert starts(settings) == started


def test_an_old_fault_does_not_stop_a_later_retry(settings: Settings) -> None:
    folder = settings.jobs / "job"
    folder.mkdir(parents=True)
    fault = {"types": ["evertune.records.UnfitError"], "message": "old", "exit_code": 2, "retry": False}
    files.write_json(folder / "fault.json", fault)
    assert attach(settings)
    assert not (folder / "fault.json").exists()


@pytest.mark.faults
def test_a_crash_that_repeats_ends_with_the_logs_tail(settings: Settings) -> None:
    with pytest.raises(EvertuneError, match=r"ended 2 times(?s:.)*the last words") as caught:
        attach(settings, {"exit": 9}, attempts=2)
    assert type(caught.value) is EvertuneError
    assert starts(settings) == 2


def test_a_worker_that_is_killed_is_started_again_and_resumes(settings: Settings) -> None:
    assert attach(settings, {"steps": 4, "kill_at": 2})["first"] == 2
    assert starts(settings) == 2


@pytest.mark.parametrize(("number", "cause"), [(9, "where memory runs out"), (15, "signal 15")])
def test_a_worker_that_a_signal_ends_each_time_is_told_with_it(settings: Settings, number: int, cause: str) -> None:
    payload = {"steps": 1, "kill_at": 1, "signal": number}
    with pytest.raises(EvertuneError, match=rf"without a result, the last time ended by signal {number}") as caught:
        attach(settings, payload, attempts=1)
    assert cause in str(caught.value)


@pytest.mark.faults
def test_a_full_disk_is_said_in_words_and_not_tried_again(settings: Settings) -> None:
    with pytest.raises(EvertuneError, match="No space left on the disk of"):
        attach(settings, {"full_disk": True})
    assert starts(settings) == 1


@pytest.mark.faults
def test_a_module_that_does_not_exist_fails_with_its_log(settings: Settings) -> None:
    with pytest.raises(EvertuneError, match="No module named nowhere"):
        jobs.attach(settings, "job", "nowhere", {}, lambda _: None, attempts=1, poll_s=0.02)


def test_an_interpreter_that_does_not_exist_is_named(settings: Settings) -> None:
    broken = settings.model_copy(update={"python": "/no/python"})
    with pytest.raises(EvertuneError, match="EVERTUNE_PYTHON"):
        attach(broken)
    assert attach(settings), "the lock must be free again"


@pytest.mark.parametrize("key", ["", ".", "..", "a/b", "../x", ".hidden", "a\0b"])
def test_a_key_cannot_lead_out_of_the_folder(settings: Settings, key: str) -> None:
    with pytest.raises(ValueError, match="no key of a job"):
        jobs.attach(settings, key, MODULE, {}, lambda _: None)


def test_a_cancelled_job_does_not_start_until_the_file_is_gone(settings: Settings) -> None:
    jobs.cancel(settings, "job")
    with pytest.raises(jobs.CancelledError, match="Delete"):
        attach(settings)
    folder = settings.jobs / "job"
    assert not (folder / "starts").exists()
    (folder / "cancel").unlink()
    assert attach(settings)


@pytest.mark.faults
@pytest.mark.parametrize("deaf", [False, True], ids=["leaves by itself", "is ended"])
def test_cancelling_ends_the_worker(settings: Settings, deaf: bool) -> None:
    def cancel_at_two(progress: dict[str, Any]) -> None:
        if progress.get("step") == 2:
            jobs.cancel(settings, "job")

    payload = {"steps": 1000, "step_s": 0.05, "deaf": deaf}
    with pytest.raises(jobs.CancelledError):
        jobs.attach(settings, "job", MODULE, payload, cancel_at_two, poll_s=0.02)
    assert starts(settings) == 1
    with files.lock(settings.jobs / "job" / "lock"):
        pass  # free: nobody works any more


@pytest.mark.faults
def test_a_result_beats_a_cancel_that_came_too_late(settings: Settings) -> None:
    first = attach(settings)
    jobs.cancel(settings, "job")
    assert attach(settings) == first


def test_a_report_never_harms_the_work(tmp_path: Path) -> None:
    jobs.report(tmp_path / "missing", {"step": 1})
