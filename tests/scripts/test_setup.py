"""scripts/setup.sh in an empty clone, with an interpreter that only notes what it is asked to install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import ROOT

NOTING = f"""#!/bin/sh
case "$1 $2" in
  "-m venv")
    mkdir -p .venv/bin && cp "$0" .venv/bin/python && echo "venv" >> made
    [ ! -e no-pip ] || exit 1 ;;
  "-m pip")
    shift 2; echo "pip $*" >> made
    case "$*" in *" check") ;; *) [ ! -e no-room ] || exit 1 ;; esac ;;
  "-m compileall") echo "compileall" >> made ;;
  *) exec {sys.executable} "$@" ;;
esac
"""


@pytest.fixture
def setup(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs the script in ``tmp_path``, which has what it reads of a clone."""
    (tmp_path / "scripts").mkdir()
    shutil.copy(ROOT / "scripts" / "setup.sh", tmp_path / "scripts")
    for name in ("requirements.lock", "requirements-torch-cpu.lock", "requirements-torch-cuda.lock", "pyproject.toml"):
        (tmp_path / name).write_text("torch==2.0\n" if "torch" in name else "one==1\ntwo==2\n")
    python = tmp_path / "python"
    python.write_text(NOTING)
    python.chmod(0o755)

    def call(**variables: str) -> subprocess.CompletedProcess[str]:
        environment = {"PATH": os.defpath, "PYTHON": str(python), "EVERTUNE_TORCH": "cpu", **variables}
        return subprocess.run(
            [tmp_path / "scripts" / "setup.sh"], env=environment, capture_output=True, text=True, check=False
        )

    return call


Setup = Callable[..., subprocess.CompletedProcess[str]]


def test_an_interpreter_that_does_not_fit_is_refused_before_anything_is_made(setup: Setup, tmp_path: Path) -> None:
    done = setup(PYTHON="/bin/false")
    assert (done.returncode, done.stderr) == (1, "evertune setup: PYTHON=/bin/false is not Python 3.11 or 3.12.\n")
    assert not (tmp_path / ".venv").exists()


def test_without_any_interpreter_it_says_what_to_install(setup: Setup, tmp_path: Path) -> None:
    (bare := tmp_path / "bin").mkdir()
    for tool in ("bash", "dirname", "env"):
        (bare / tool).symlink_to(str(shutil.which(tool)))
    done = setup(PYTHON="", PATH=str(bare))
    assert done.returncode == 1
    assert "Python 3.11 or 3.12 is needed and none was found" in done.stderr


def test_a_build_of_torch_that_is_none_is_refused(setup: Setup, tmp_path: Path) -> None:
    done = setup(EVERTUNE_TORCH="tpu")
    assert (done.returncode, done.stderr) == (1, "evertune setup: EVERTUNE_TORCH is 'tpu'; it must be cpu or cuda.\n")
    assert not (tmp_path / ".venv").exists()


def test_what_is_set_up_is_not_set_up_again(setup: Setup, tmp_path: Path) -> None:
    assert setup().returncode == 0
    made = (tmp_path / "made").read_text()
    assert made.startswith("venv\npip ")
    assert "--require-hashes --no-deps -r requirements.lock" in made
    assert made.count("compileall\n") == 1, "pip does not compile"
    assert setup().returncode == 0
    assert (tmp_path / "made").read_text() == made


@pytest.mark.parametrize("built", ["None", "'13.0'"])
def test_the_cpu_build_is_not_taken_for_the_one_with_cuda(setup: Setup, tmp_path: Path, built: str) -> None:
    # The interpreter of these tests is asked for its torch: a stand-in for that of the .venv.
    (torch := tmp_path / "site" / "torch").mkdir(parents=True)
    (torch / "__init__.py").touch()
    (torch / "version.py").write_text(f"cuda = {built}\n")
    assert setup(EVERTUNE_TORCH="cuda", PYTHONPATH=str(tmp_path / "site")).returncode == 0
    made = (tmp_path / "made").read_text()
    assert ("uninstall --quiet --yes torch" in made) == (built == "None")


def test_one_that_was_cut_off_is_built_anew(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "no-room").touch()
    assert setup().returncode != 0
    (tmp_path / ".venv" / "half-installed").touch()
    assert setup().returncode != 0, "and again, with what that left"
    (tmp_path / "no-room").unlink()
    assert setup().returncode == 0
    assert not (tmp_path / ".venv" / "half-installed").exists()
    assert (tmp_path / "made").read_text().count("venv\n") == 3


def test_one_that_was_cut_off_before_it_had_pip_is_built_anew(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / "no-pip").touch()
    assert setup().returncode != 0
    assert (tmp_path / ".venv" / "bin" / "python").exists()
    (tmp_path / "no-pip").unlink()
    assert setup().returncode == 0
    assert (tmp_path / "made").read_text().count("venv\n") == 2


def test_one_that_was_cut_off_in_an_update_is_built_anew(setup: Setup, tmp_path: Path) -> None:
    assert setup().returncode == 0
    (tmp_path / "requirements.lock").write_text("one==1\ntwo==3\n")
    (tmp_path / "no-room").touch()
    assert setup().returncode != 0
    (tmp_path / "no-room").unlink()
    assert setup().returncode == 0
    assert (tmp_path / "made").read_text().count("venv\n") == 2
    assert not (tmp_path / ".venv" / ".evertune-unfinished").exists()


def test_one_that_an_earlier_version_was_cut_off_in_is_built_anew(setup: Setup, tmp_path: Path) -> None:
    """It had no mark for that, but only this script leaves that log there."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "python", tmp_path / ".venv" / "bin" / "python")
    (tmp_path / ".venv" / "torch-cpu.log").touch()
    (tmp_path / ".venv" / "half-installed").touch()
    assert setup().returncode == 0
    assert not (tmp_path / ".venv" / "half-installed").exists()


def test_one_that_a_person_made_is_left_alone(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "python", tmp_path / ".venv" / "bin" / "python")
    (tmp_path / ".venv" / "dear").touch()
    done = setup()
    assert done.returncode == 1
    assert f"{tmp_path}/.venv has no mark of make setup" in done.stderr
    assert "rm -rf .venv" in done.stderr
    assert (tmp_path / ".venv" / "dear").exists()
    assert not (tmp_path / "made").exists()


def test_one_of_an_earlier_version_is_taken_over(setup: Setup, tmp_path: Path) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    shutil.copy(tmp_path / "python", tmp_path / ".venv" / "bin" / "python")
    (tmp_path / ".venv" / ".evertune-d9b21743255f1517").touch()
    assert setup().returncode == 0
    assert "venv\n" not in (tmp_path / "made").read_text()
    assert len(list((tmp_path / ".venv").glob(".evertune-*"))) == 1


@pytest.mark.parametrize("python", [None, "#!/nowhere/python\n", "#!/bin/sh\nexit 1\n"])
def test_one_that_does_not_work_is_built_anew(setup: Setup, tmp_path: Path, python: str | None) -> None:
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    if python is not None:
        (tmp_path / ".venv" / "bin" / "python").write_text(python)
        (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    (tmp_path / ".venv" / "old").touch()
    assert setup().returncode == 0
    assert not (tmp_path / ".venv" / "old").exists()


def test_a_lock_that_changed_is_installed_into_what_is_there(setup: Setup, tmp_path: Path) -> None:
    assert setup().returncode == 0
    (tmp_path / "requirements.lock").write_text("one==1\ntwo==3\n")
    assert setup().returncode == 0
    made = (tmp_path / "made").read_text()
    assert made.count("venv\n") == 1
    assert made.count("-r requirements.lock") == 2


def test_the_cuda_build_is_taken_by_hand(setup: Setup, tmp_path: Path) -> None:
    assert setup(EVERTUNE_TORCH="cuda").returncode == 0
    made = (tmp_path / "made").read_text()
    assert "-r requirements-torch-cuda.lock" in made
    assert "-r requirements-torch-cpu.lock" not in made
