"""Names of Great Expectations' core expectations, told without importing it (3.7 s)."""

from __future__ import annotations

import functools
import importlib.util
import re
from pathlib import Path


@functools.cache
def core_expectations() -> tuple[str, ...]:
    """Their names in snake case, as the installed package lists them; none where none are listed."""
    package = importlib.util.find_spec("great_expectations")
    if package is None or package.origin is None:
        return ()
    listed = Path(package.origin).parent / "expectations" / "core" / "__init__.py"
    try:
        return tuple(sorted(re.findall(r"^from \.(expect_\w+) import", listed.read_text("utf-8"), re.MULTILINE)))
    except OSError:
        return ()
