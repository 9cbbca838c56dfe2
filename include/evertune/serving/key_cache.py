"""The keys that are known, on the disk, so that a server starts while the ledger is away. Hashes only, mode 0600."""

from __future__ import annotations

import json
import os
import stat
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from evertune.files import fsync
from evertune.ledger.keys import Key

log = structlog.get_logger(__name__)


def load(path: Path) -> list[Key]:
    """The keys that were saved; none where there is no such file, or one that others may have written."""
    try:
        with path.open("rb") as stream:
            about = os.fstat(stream.fileno())
            if about.st_uid != os.geteuid() or stat.S_IMODE(about.st_mode) & 0o077:
                log.warning("keys.cache_refused", path=str(path), reason="others may read or write it")
                return []
            return [Key.model_validate(one) for one in json.load(stream)["keys"]]
    except FileNotFoundError:
        return []
    except (OSError, ValueError, TypeError, KeyError) as fault:
        log.warning("keys.cache_unreadable", path=str(path), reason=str(fault))
        return []


def save(path: Path, keys: Sequence[Key]) -> bool:
    """Keep them for the next start. A full disk is told and borne (``False``): they are still in memory."""
    try:
        _write(path, json.dumps({"keys": [key.model_dump(mode="json") for key in keys]}).encode())
    except OSError as fault:
        log.warning("keys.cache_not_written", path=str(path), reason=str(fault))
        return False
    return True


def _write(path: Path, data: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # made with mode 0600
    aside = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as stream:
            stream.write(data)
            stream.flush()
            os.fsync(stream.fileno())
        aside.replace(path)
    except BaseException:
        aside.unlink(missing_ok=True)
        raise
    fsync(path.parent)
