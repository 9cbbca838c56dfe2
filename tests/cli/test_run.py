"""What `evertune run` leaves where, and what `--dry-run` prints, which can be shown around."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import quick

from evertune.settings import load

HOOK = "https://example.org/hook?v=1&sig=geheim"
LIBRARIES = ("HF_HOME", "MPLCONFIGDIR", "TORCHINDUCTOR_CACHE_DIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME")
DATABASE = "postgresql://db/ledger?user=me&password=geheim"


@pytest.mark.parametrize("more", [["--json"], []])
def test_a_dry_run_shows_no_secret(tmp_path: Path, more: list[str]) -> None:
    given = {"EVERTUNE_HOME": str(tmp_path / "home"), "EVERTUNE_PROJECTS": str(tmp_path / "projects")}
    where = load({**given, "EVERTUNE_DATABASE_URL": DATABASE})
    where.projects.mkdir()
    quick.write(where, notifications={"webhooks": [{"url": HOOK, "secret": "${secret:HOOK}", "events": ["release"]}]})
    command = [sys.executable, "-m", "evertune.cli.main", "run", quick.SLUG, "--dry-run", *more]
    done = subprocess.run(command, env=quick.environment(where), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert DATABASE.replace("geheim", "***") in done.stdout
    assert HOOK.replace("geheim", "***") in done.stdout
    assert "geheim" not in done.stdout + done.stderr


@pytest.mark.integration
def test_all_that_a_run_makes_lies_below_the_home(tmp_path: Path, registry: Path) -> None:
    where = quick.home(tmp_path, registry)
    quick.write(where)
    (person := tmp_path / "person").mkdir()
    (temporary := tmp_path / "temporary").mkdir()
    told = {name: value for name, value in quick.environment(where).items() if name not in LIBRARIES}
    told |= {"HOME": str(person), "TMPDIR": str(temporary)}
    command = [sys.executable, "-m", "evertune.cli.main", "run", quick.SLUG]
    done = subprocess.run(command, env=told, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert list(person.rglob("*")) == []
    assert list(temporary.rglob("*")) == []
    assert (where.cache / "matplotlib").is_dir()
