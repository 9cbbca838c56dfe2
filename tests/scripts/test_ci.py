""".ci/run in an empty clone, with commands that only note that they were called."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.support import ROOT

from evertune.loop.status import ProjectStatus
from evertune.records import Decision

MAKE = '#!/bin/sh\necho "make $*" >> "$CALLED"\n'
PYTHON = f"""#!/bin/sh
case "$1" in
  -c) exec {sys.executable} "$@" ;;
  *) echo "python $*" >> "$CALLED" ;;
esac
"""
STATUS = '#!/bin/sh\necho "evertune $*" >> "$CALLED"\ncat status.json\n'


def ci(root: Path, verdict: Decision | None) -> tuple[int, str, list[str]]:
    """Run it where the newest run has ended so: the exit status, what it says of faults, and what it called."""
    for name, text in {"bin/make": MAKE, ".venv/bin/python": PYTHON, ".venv/bin/evertune": STATUS}.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    (root / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", root / ".ci")
    assert "last_verdict" in ProjectStatus.model_fields
    told = {"project": "review-sentiment", "last_verdict": verdict}
    (root / "status.json").write_text(json.dumps({"projects": [told], "faults": []}))
    path = f"{root / 'bin'}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        [root / ".ci" / "run"], env={**os.environ, "PATH": path, "CALLED": str(root / "called")},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stderr, (root / "called").read_text().splitlines()


def test_a_second_demo_in_which_nothing_has_changed_goes_on_to_the_end(tmp_path: Path) -> None:
    status, _, called = ci(tmp_path, Decision.UNCHANGED)
    assert status == 0
    assert called.index("evertune status review-sentiment --json") > called.index("make demo") + 1
    assert called[-2:] == ["make test-further", "make --no-print-directory down"]


@pytest.mark.parametrize("verdict", [Decision.PROMOTE, Decision.REJECT, None])
def test_a_second_demo_that_trained_again_ends_it(tmp_path: Path, verdict: Decision | None) -> None:
    status, told, called = ci(tmp_path, verdict)
    assert status != 0
    assert f"The second demo's run ended as {verdict}, not as unchanged" in told
    assert called[-1] == "make --no-print-directory down"
    assert "make test-further" not in called
