from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from evertune import __version__
from evertune.loop.code_version import code_version


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=ann", "-c", "user.email=ann@example.com", "-c", "commit.gpgsign=false"]
    command = ["git", "-C", str(folder), *identity, *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """The package's folder in a repository with one commit."""
    git(tmp_path, "init", "--quiet")
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "one")
    folder = tmp_path / "include" / "evertune"
    folder.mkdir(parents=True)
    return folder


def test_in_a_clone_it_names_the_commit(package: Path, tmp_path: Path) -> None:
    assert code_version(package) == f"{__version__}+g{git(tmp_path, 'rev-parse', 'HEAD')[:12]}"
    git(tmp_path, "commit", "--quiet", "--allow-empty", "--message", "two")
    assert code_version(package) == f"{__version__}+g{git(tmp_path, 'rev-parse', 'HEAD')[:12]}"


def test_a_package_that_is_installed_below_somebody_elses_repository_has_its_version_alone(package: Path) -> None:
    installed = package.parents[1] / ".venv" / "site-packages" / "evertune"
    assert code_version(installed) == __version__


def test_where_git_cannot_tell_the_version_stands_alone(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setenv("PATH", "")
        assert code_version(package) == __version__
    (package.parents[1] / ".git" / "HEAD").write_text("torn")
    assert code_version(package) == __version__
