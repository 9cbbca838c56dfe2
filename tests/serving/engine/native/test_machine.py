from __future__ import annotations

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.serving.engine.native import fit

from evertune.records import EvertuneError
from evertune.serving.engine.native import machine


def test_a_processor_without_matrix_units_is_told_from_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_flags", lambda: set(machine.NEEDED) - {"amx_bf16"})
    assert machine.fault.__wrapped__() == "the processor has no amx_bf16"
    monkeypatch.setattr(machine, "_flags", lambda: set(machine.NEEDED))
    monkeypatch.setattr(machine, "_refused", lambda: True)
    assert "does not let this process" in str(machine.fault.__wrapped__())
    monkeypatch.setattr(machine, "_refused", lambda: False)
    assert machine.fault.__wrapped__() is None


def test_the_flags_of_the_processor_are_those_that_linux_tells() -> None:
    told = subprocess.run(["grep", "-m1", "-w", "flags", "/proc/cpuinfo"], capture_output=True, text=True, check=False)
    assert machine._flags() == set(told.stdout.partition(":")[2].split())


@pytest.fixture
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor that can, and nothing compiled yet."""
    monkeypatch.setattr(machine, "fault", lambda: None)
    monkeypatch.setattr(machine, "compiled", machine._compiled.__wrapped__)
    monkeypatch.setattr(machine, "missing", machine.missing.__wrapped__)


@pytest.mark.usefixtures("able")
def test_without_a_compiler_nothing_is_promised(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no C compiler was found (cc, gcc, clang)" in str(machine.missing())
    assert machine.recipe() is None


@pytest.mark.usefixtures("able")
@pytest.mark.parametrize(("compiler", "said"), [("false", "false could not compile"), ('cc "', "which is no command")])
def test_a_compiler_that_will_not_do_is_as_good_as_none(
    monkeypatch: pytest.MonkeyPatch, compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    assert said in str(machine.missing())
    assert machine.recipe() is None


def test_an_engine_is_another_one_when_the_source_or_the_processor_changes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(machine, "missing", lambda: None)
    first = machine.recipe()
    assert first is not None
    (tmp_path / "encoder.c").write_text("int changed;")
    monkeypatch.setattr(machine, "SOURCE", tmp_path / "encoder.c")
    assert machine.recipe() not in {first, None}
    monkeypatch.setattr(machine, "missing", lambda: "another processor")
    assert machine.recipe() is None


@pytest.mark.parametrize(
    ("compiler", "said"),
    [
        ("false", r"false could not compile encoder\.c \(status 1\)"),
        ("/nowhere/cc", r"/nowhere/cc could not compile encoder\.c: .*No such file"),
        (f"{sys.executable} -c 'raise SystemExit(\"no such option\")'", "no such option"),
    ],
)
def test_a_compiler_that_fails_says_why(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str, said: str
) -> None:
    monkeypatch.setenv("CC", compiler)
    with pytest.raises(EvertuneError, match=said):
        machine._compile(tmp_path / "encoder.so")


def test_a_compiler_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(machine, "_TIMEOUT_S", 0.2)
    monkeypatch.setenv("CC", f"{sys.executable} -c 'import time; time.sleep(30)'")
    with pytest.raises(EvertuneError, match="timed out"):
        machine._compile(tmp_path / "encoder.so")


def test_what_cannot_be_loaded_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "_compile", lambda to: to.write_bytes(b"no library"))
    with pytest.raises(EvertuneError, match="cannot be loaded"):
        machine._compiled.__wrapped__()


@fit.needs_matrix_units
def test_it_is_compiled_once_a_process_without_a_warning(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with ThreadPoolExecutor(4) as pool:
        assert len({id(found) for found in pool.map(lambda _: machine.compiled(), range(8))}) == 1
    monkeypatch.setattr(machine, "_FLAGS", (*machine._FLAGS, "-Wall", "-Wextra", "-Werror"))
    machine._compile(tmp_path / "encoder.so")
    assert (tmp_path / "encoder.so").stat().st_size
