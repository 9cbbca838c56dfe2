"""BentoML with the same model: adaptive batching, as its documentation advises for throughput."""

from __future__ import annotations

import os
from typing import Any

import bentoml

from _peer_model import PeerModel

BATCH = int(os.environ.get("PEER_BATCH", "1"))


@bentoml.service(workers=int(os.environ.get("PEER_WORKERS", "1")), traffic={"timeout": 30})
class Classify:
    """One text a request."""

    def __init__(self) -> None:
        self.model = PeerModel()

    @bentoml.api(  # type: ignore[untyped-decorator]
        batchable=BATCH > 1, max_batch_size=max(2, BATCH), max_latency_ms=int(os.environ.get("PEER_WAIT_MS", "100"))
    )
    def predict(self, texts: list[str]) -> list[dict[str, Any]]:
        """The answers in the order of the texts."""
        answers: list[dict[str, Any]] = self.model(texts)
        return answers
