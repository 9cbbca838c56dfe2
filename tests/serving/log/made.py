"""Records to log, and logs to put them in."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

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
