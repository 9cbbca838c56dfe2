"""Names of projects."""

from __future__ import annotations

import re
import unicodedata

from evertune.project.block import SLUG

LONGEST = 63
"""As long as a DNS label: the slug becomes part of names elsewhere."""


def is_slug(name: str) -> bool:
    """Whether a project may have this name."""
    return len(name) <= LONGEST and re.fullmatch(SLUG, name) is not None


def suggestion(name: str) -> str:
    """A valid slug that is near to ``name``."""
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = re.findall(r"[a-z0-9]+", plain)
    if not words:
        return "my-project"
    if words[0][0].isdigit():
        words.insert(0, "project")
    return "-".join(words)[:LONGEST].rstrip("-")
