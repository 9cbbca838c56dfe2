"""Whatever goes wrong, a person reads a sentence and a script one JSON object; where it came from is kept."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import NoReturn

import pytest

from evertune.cli import main as command_line
from evertune.settings import Settings


def evertune(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "evertune.cli.main", *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def fail(monkeypatch: pytest.MonkeyPatch, fault: Exception, *arguments: str) -> int:
    """A command that meets the fault; its exit status."""

    def broken(**_: object) -> NoReturn:
        raise fault

    monkeypatch.setattr(command_line, "_quiet_logs", lambda: None)  # for a process of its own, not for this one
    monkeypatch.setattr(command_line, "app", broken)
    monkeypatch.setattr(sys, "argv", ["evertune", "status", *arguments])
    with pytest.raises(SystemExit) as left:
        command_line.main()
    assert isinstance(left.value.code, int)
    return left.value.code


def test_a_wrong_variable_is_one_sentence_or_one_object(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EVERTUNE_GPUS", "x")
    plain, scripted = evertune("status"), evertune("status", "--json")
    assert plain.returncode == scripted.returncode == 1
    assert "EVERTUNE_GPUS is 'x'" in plain.stderr
    assert "Traceback" not in plain.stderr
    assert "EVERTUNE_GPUS is 'x'" in json.loads(scripted.stdout)["error"]["message"]


def test_a_mistake_in_the_code_is_told_and_its_traceback_kept(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    log = environment.home / "logs" / "faults.log"
    assert fail(monkeypatch, ZeroDivisionError("by\nzero"), "--json") == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["type"] == "Bug"
    assert "ZeroDivisionError: by zero" in told["message"]
    assert str(log) in told["message"]
    assert "evertune status --json\nTraceback" in log.read_text()
    fail(monkeypatch, KeyError("again"))
    assert "Traceback" not in capsys.readouterr().err
    assert log.read_text().count("Traceback") == 2


def test_a_traceback_is_kept_though_the_command_named_a_file_that_is_no_utf8(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(monkeypatch, ZeroDivisionError("by zero"), "caf\udce9.yaml", "--json") == 1
    assert "ZeroDivisionError" in json.loads(capsys.readouterr().out)["error"]["message"]
    assert r"caf\udce9.yaml" in (environment.home / "logs" / "faults.log").read_text()


def test_where_the_traceback_cannot_be_kept_it_is_shown(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (environment.home / "logs").write_text("no folder")
    fail(monkeypatch, ZeroDivisionError("by zero"), "--json")
    printed = capsys.readouterr()
    assert "Traceback" in printed.err
    assert "above" in json.loads(printed.out)["error"]["message"]


def test_a_file_that_may_not_be_read_is_named(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fault = PermissionError(13, "Permission denied", str(tmp_path / "ledger.db"))
    assert fail(monkeypatch, fault, "--json") == 1
    told = json.loads(capsys.readouterr().out)["error"]
    assert told["type"] == "PermissionError"
    assert f"{tmp_path / 'ledger.db'}: Permission denied" in told["message"]


def test_a_full_disk_has_a_name_of_its_own(
    environment: Settings, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(monkeypatch, OSError(28, "No space left on device", "snapshot.parquet"), "--json") == 1
    assert json.loads(capsys.readouterr().out)["error"]["type"] == "FullDisk"


def test_a_terminal_that_lacks_a_character_is_no_mistake(
    environment: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONUTF8", "0")
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    (environment.projects / "a.yaml").write_text("slug: Zoë\n", "utf-8")
    done = evertune("validate")
    assert done.returncode == 2, done.stderr
    assert "Zo\\xeb" in done.stdout


def test_a_fault_is_not_cut_into_lines(environment: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    path = environment.projects / f"{'folder/' * 20}b.yaml"
    path.parent.mkdir(parents=True)
    path.write_text("slug: [")
    assert f"{path}:1:8: " in evertune("run", str(path)).stderr
    path.rename(environment.projects / f"{'b' * 100}.yaml")
    assert f"{'b' * 100}.yaml:1:8: " in evertune("status").stderr


HANGS = """
import os, signal, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in a script's background
from evertune.cli import main, output

@main.app.command("hang")
def hang(json: output.Json = False) -> None:
    os.kill(os.getpid(), signal.SIGINT)
    time.sleep(60)

main.main()
"""


def test_an_interrupt_is_one_sentence_or_one_object(environment: Settings) -> None:
    for options in ([], ["--json"]):
        command = [sys.executable, "-c", HANGS, "hang", *options]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 130
        told = json.loads(done.stdout)["error"]["message"] if options else done.stderr
        assert told.startswith("Interrupted.")
        assert "Traceback" not in done.stderr


LOGS_A_FAULT = """
import structlog
from evertune.cli import main

def fails(secret):
    raise ValueError("the hook")

main._quiet_logs()
try:
    fails("hunter" + str(2))
except ValueError:
    structlog.get_logger().exception("it broke off", project="spam")
"""


def test_a_traceback_in_the_log_shows_no_variables() -> None:
    done = subprocess.run([sys.executable, "-c", LOGS_A_FAULT], capture_output=True, text=True, check=True)
    assert "it broke off" in done.stderr
    assert "ValueError: the hook" in done.stderr
    assert "hunter2" not in done.stdout + done.stderr
