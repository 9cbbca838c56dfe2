"""`make clean` removes what it says, and never what a person wanted to keep."""

from __future__ import annotations

import os
import pty
import shutil
import subprocess
from pathlib import Path

import pytest
from scripts.installation import installation
from tests.support import ROOT

from evertune.settings import Settings


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """A checkout with a virtual environment and models, as far as `make clean` looks at them."""
    root = tmp_path / "clone"
    (root / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "Makefile", root)
    shutil.copy(ROOT / "scripts" / "clean.sh", root / "scripts")
    (root / ".venv" / "bin").mkdir(parents=True)
    for name in ("ledger.db", "mlflow/model", "cache/wheel"):
        path = root / ".evertune" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("dear")
    return root


def clean(clone: Path, answer: str | None = None, **environment: str) -> tuple[int, str]:
    """`make clean`, with a person at a terminal who answers, or with nobody there."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("EVERTUNE_", "MAKE"))}
    terminal, inner = pty.openpty()
    if answer is not None:
        os.write(terminal, answer.encode())
    done = subprocess.run(
        ["make", "--silent", "clean"], cwd=clone, env={**kept, **environment}, capture_output=True, text=True,
        stdin=subprocess.DEVNULL if answer is None else inner, check=False,
    )  # fmt: skip
    os.close(terminal)
    os.close(inner)
    return done.returncode, done.stdout + done.stderr


def embedded(clone: Path, script: str) -> None:
    """Servers were started, and this is what the interpreter does when it is asked to stop them."""
    (clone / ".evertune" / "embedded").mkdir()
    (clone / ".evertune" / "embedded" / "processes.json").write_text("{}")
    python = clone / ".venv" / "bin" / "python"
    python.write_text(f"#!/bin/sh\n{script}\n")
    python.chmod(0o755)


@pytest.mark.parametrize("answer", ["n\n", "N\n", "\n", "yes please\n"])
def test_anything_but_y_keeps_the_models(clone: Path, answer: str) -> None:
    status, told = clean(clone, answer)
    assert status != 0
    assert "Nothing was removed" in told
    assert (clone / ".evertune" / "mlflow" / "model").exists()
    assert (clone / ".venv").exists()


def test_y_removes_all_of_it(clone: Path) -> None:
    assert clean(clone, "y\n")[0] == 0
    assert not (clone / ".evertune").exists()
    assert not (clone / ".venv").exists()
    assert (clone / "Makefile").exists()


def test_an_environment_behind_a_link_is_somebodys_own(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs" / "bin").mkdir(parents=True)
    (clone / ".venv" / "bin").rmdir()
    (clone / ".venv").rmdir()
    (clone / ".venv").symlink_to(tmp_path / "theirs")
    assert clean(clone, "y\n")[0] == 0
    assert not (clone / ".venv").is_symlink()
    assert (tmp_path / "theirs" / "bin").is_dir()


def test_cut_off_it_leaves_no_environment_that_looks_like_a_persons(clone: Path, tmp_path: Path) -> None:
    """One that works and has no mark of make setup: that one would leave it alone."""
    (clone / ".venv" / ".evertune-d9b21743255f1517").touch()
    (clone / ".venv" / "bin" / "python").touch()
    (tmp_path / "bin").mkdir()
    rm = tmp_path / "bin" / "rm"
    # As the real one, but that of .venv it gets no further than the marks.
    rm.write_text(
        '#!/bin/sh\nshift\nfor path; do\n  case "$path" in\n    .venv) '
        f'{shutil.which("rm")} .venv/.evertune-*; exit 1 ;;\n    *) {shutil.which("rm")} -rf "$path" ;;\n  esac\ndone\n'
    )
    rm.chmod(0o755)
    assert clean(clone, YES="1", PATH=f"{rm.parent}{os.pathsep}{os.environ['PATH']}")[0] != 0
    assert not list((clone / ".venv").iterdir())


def test_where_nobody_can_be_asked_the_models_stay(clone: Path) -> None:
    status, told = clean(clone)
    assert status != 0
    assert "YES=1" in told
    assert (clone / ".evertune" / "ledger.db").exists()
    assert clean(clone, YES="1")[0] == 0
    assert not (clone / ".evertune").exists()


def test_caches_alone_are_removed_unasked(clone: Path) -> None:
    (clone / ".evertune" / "ledger.db").unlink()
    shutil.rmtree(clone / ".evertune" / "mlflow")
    assert clean(clone)[0] == 0
    assert not (clone / ".evertune").exists()


def test_it_is_the_home_of_the_settings_that_is_removed(clone: Path, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir()
    (home / "ledger.db").write_text("dear")
    assert clean(clone, EVERTUNE_HOME=str(home))[0] != 0
    assert (home / "ledger.db").exists()
    assert clean(clone, EVERTUNE_HOME=str(home), YES="1")[0] == 0
    assert not home.exists()
    assert (clone / ".evertune" / "ledger.db").exists()


def test_a_home_that_holds_the_checkout_is_refused(clone: Path, tmp_path: Path) -> None:
    status, told = clean(clone, EVERTUNE_HOME=str(tmp_path), YES="1")
    assert status != 0
    assert "holds this checkout" in told
    assert clean(clone, EVERTUNE_HOME=str(tmp_path / "me"), HOME=str(tmp_path / "me"), YES="1")[0] != 0


@pytest.mark.parametrize("answer", [None, "y\n"])
@pytest.mark.parametrize("kept", ["thesis.docx", "cache/thumbnails/1.png", "runs/1/notes.txt", ".hidden"])
def test_a_folder_in_which_evertune_made_nothing_is_refused(
    clone: Path, tmp_path: Path, kept: str, answer: str | None
) -> None:
    path = tmp_path / "work" / kept
    path.parent.mkdir(parents=True)
    path.write_text("dear")
    status, told = clean(clone, answer, EVERTUNE_HOME=str(tmp_path / "work"), **({} if answer else {"YES": "1"}))
    assert status != 0
    assert "nothing that evertune makes" in told
    assert "Nothing was removed" in told
    assert path.exists()
    assert (clone / ".venv").exists()


def test_a_file_is_no_home(clone: Path, tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("dear")
    assert clean(clone, EVERTUNE_HOME=str(tmp_path / "thesis.docx"), YES="1")[0] != 0
    assert (tmp_path / "thesis.docx").exists()


@pytest.mark.parametrize("made", ["runs/1/project.json", "jobs/1/job.json", "cache/wheels/1/a.whl", "logs/faults.log"])
def test_a_home_whose_ledger_is_elsewhere_is_known_by_what_else_evertune_makes(
    clone: Path, tmp_path: Path, made: str
) -> None:
    path = tmp_path / "a home" / made
    path.parent.mkdir(parents=True)
    path.write_text("dear")
    assert clean(clone, EVERTUNE_HOME=str(tmp_path / "a home"), YES="1") == (0, "")
    assert not (tmp_path / "a home").exists()


def test_an_installation_that_was_made_alone_is_known(clone: Path, where: Settings) -> None:
    installation(where)
    assert clean(clone, EVERTUNE_HOME=str(where.home), YES="1") == (0, "")
    assert not where.home.exists()


@pytest.mark.parametrize("there", [True, False])
def test_where_the_home_is_empty_or_absent_the_rest_is_removed(clone: Path, tmp_path: Path, there: bool) -> None:
    if there:
        (tmp_path / "home").mkdir()
    assert clean(clone, EVERTUNE_HOME=str(tmp_path / "home")) == (0, "")
    assert not (tmp_path / "home").exists()
    assert not (clone / ".venv").exists()


@pytest.mark.parametrize("home", [None, ""])
def test_it_works_where_the_environment_names_no_home(
    clone: Path, monkeypatch: pytest.MonkeyPatch, home: str | None
) -> None:
    monkeypatch.delenv("HOME")
    assert clean(clone, YES="1", **({} if home is None else {"HOME": home})) == (0, "")
    assert not (clone / ".evertune").exists()
    status, told = clean(clone, EVERTUNE_HOME="~")  # and nobody to ask, should it not be refused
    assert status != 0
    assert "your home folder" in told


def test_servers_are_stopped_before_their_files_go(clone: Path, tmp_path: Path) -> None:
    embedded(clone, f'ls .evertune > {tmp_path}/seen; echo "$@" >> {tmp_path}/seen')
    assert clean(clone, YES="1")[0] == 0
    assert "ledger.db" in (tmp_path / "seen").read_text()
    assert "scripts.embedded down" in (tmp_path / "seen").read_text()


def test_servers_that_cannot_be_stopped_keep_their_files(clone: Path) -> None:
    embedded(clone, "exit 1")
    assert clean(clone, YES="1")[0] != 0
    (clone / ".venv" / "bin" / "python").unlink()
    assert clean(clone, YES="1")[0] != 0
    assert (clone / ".evertune" / "ledger.db").exists()
