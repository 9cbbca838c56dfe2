"""Which code made a model: the version, and the commit where it runs from a clone."""

from __future__ import annotations

import subprocess
from pathlib import Path

import evertune

_PACKAGE = Path(evertune.__file__).resolve().parent


def code_version(package: Path = _PACKAGE) -> str:
    """``0.1.0+g1a2b3c4d5e6f``, or the version alone where the package is installed, or git cannot tell.

    Between two versions many commits train different models; the version alone would call them the same.
    """
    root = package.parent.parent
    if package.parent.name != "include" or not (root / ".git").exists():
        return evertune.__version__  # not a clone; a repository further up would be somebody else's
    command = ["git", "-C", str(root), "rev-parse", "--verify", "HEAD"]
    try:
        commit = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return evertune.__version__
    return f"{evertune.__version__}+g{commit[:12]}"
