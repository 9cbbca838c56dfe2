"""Names of Great Expectations' core expectations, told without importing it (3.7 s)."""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path


@functools.cache
def core_expectations() -> tuple[str, ...]:
    """Their names in snake case, by the files of the installed package; none where it is not installed."""
    package = importlib.util.find_spec("great_expectations")
    if package is None or package.origin is None:
        return ()
    folder = Path(package.origin).parent / "expectations" / "core"
    return tuple(sorted(path.stem for path in folder.glob("expect_*.py")))
