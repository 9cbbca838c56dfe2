"""Records to log, and logs to put them in."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from evertune.serving.log import Answer, Feedback, TrafficLog
from evertune.serving.log.frames import Header

NOW = datetime(2026, 11, 22, 18, 30, 0, 123_456, tzinfo=UTC)


def answer(number: int = 0, project: str = "spam", **changes: Any) -> Answer:
    """An answer that is told from others by its text."""
    made = Answer(
        project=project,
        generation=3,
        model_version=7,
        digest="d" * 64,
        text=f"text {number}",
        output={"label": "a", "scores": [0.25, 0.75], "cut": False, "tokens": 5},
        embedding=(np.arange(16) / 4 + number).astype(np.float16),
        key_id="aaaaaaaaaaaa",
        received=NOW,
        answered=NOW,
    )
    return made._replace(**changes)


def feedback(about: str, project: str = "spam", **changes: Any) -> Feedback:
    """What somebody says of the answer of this id."""
    made = Feedback(
        project=project, prediction_id=about, generation=3, predicted="a", truth="b", correction=None,
        thumbs="down", comment="not so", key_id="aaaaaaaaaaaa", at=NOW,
    )  # fmt: skip
    return made._replace(**changes)


def same(one: Answer, other: Answer) -> bool:
    """Whether two answers are equal; arrays have no ``==`` of their own."""
    left, right = one.embedding, other.embedding
    alike = right is None if left is None else right is not None and np.array_equal(left, right)
    return bool(alike) and one._replace(embedding=None) == other._replace(embedding=None)


def fill(home: Path, records: Sequence[Answer | Feedback], **options: Any) -> list[str]:
    """Append one by one to a log, close it, and return the ids."""

    async def run() -> list[str]:
        log = TrafficLog(home, **options)
        try:
            return [(await log.append([record]))[0] for record in records]
        finally:
            await log.close()

    return asyncio.run(run())


def segment(path: Path, payloads: Sequence[bytes], number: int = 0x29CD000000_C0FFEE) -> list[int]:
    """Write a closed segment as a server leaves it; returns the offsets."""
    header = Header.new(number, 1_790_000_000_000_000)
    data, offsets = header.encode(), []
    for payload in payloads:
        offsets.append(len(data))
        data += header.frame(len(data), payload)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return offsets


class Disk:
    """``os.pwrite`` and ``os.fdatasync`` of segments, which fail when told to. ``plan``: one entry a call."""

    def __init__(self, patch: pytest.MonkeyPatch) -> None:
        self.plan: list[int | None] = []
        """An errno: the call fails with it. A negative number: so many bytes are written before ENOSPC is met."""
        self.syncs: list[str] = []
        self.hold: threading.Event | None = None
        self.held = threading.Event()
        """Whether a sync has met the hold."""
        self._pwrite, self._fdatasync = os.pwrite, os.fdatasync
        patch.setattr("os.pwrite", self.pwrite)
        patch.setattr("os.fdatasync", self.fdatasync)

    def _next(self, descriptor: int) -> int | None:
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        return self.plan.pop(0) if path.endswith(".log") and self.plan else None

    def pwrite(self, descriptor: int, data: Any, at: int) -> int:
        fault = self._next(descriptor)
        if fault is None:
            return self._pwrite(descriptor, data, at)
        if fault > 0:
            raise OSError(fault, os.strerror(fault))
        self.plan.insert(0, errno.ENOSPC)
        return self._pwrite(descriptor, data[:-fault], at)

    def fdatasync(self, descriptor: int) -> None:
        if self.hold is not None:
            self.held.set()
            self.hold.wait(120)
        fault = self._next(descriptor)
        self.syncs.append(str(Path(f"/proc/self/fd/{descriptor}").readlink()))
        if fault is not None:
            raise OSError(fault, os.strerror(fault))
        self._fdatasync(descriptor)
