"""Who gives a command, for what the ledger keeps of it."""

from __future__ import annotations

import getpass
import os


def name() -> str:
    """The login name; the user's number where there is none, as in a container that runs under a number of its own."""
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # which of them depends on Python's version
        return f"uid {os.getuid()}"
