"""torch behind :class:`Model`, for architectures that ONNX cannot express. Slower, and larger in memory."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from evertune.serving.engine.served import Floats


class TorchModel:
    """The bundle's own model, as :func:`evertune.models.classifier.load` loads it."""

    padded: ClassVar[bool] = True

    def __init__(self, bundle_folder: Path, digest: str | None, device: str | None = None) -> None:
        from evertune.models import classifier

        self._classifier = classifier.load(bundle_folder, digest, device)
        self._alone = threading.Lock()

    @property
    def network(self) -> Any:
        """The transformers model."""
        return self._classifier.network

    @property
    def embedded(self) -> int:
        """The hidden states that embeddings are made of."""
        return self._classifier.embedded

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:  # noqa: ARG002
        """Logits and embeddings of the rows, as one batch, on all cores whether ``alone`` or not."""
        import torch

        from evertune.models import forward

        with self._alone, torch.inference_mode():
            found = forward.both(self.network, rows, self.embedded)
        logits, embeddings = (tensor.float().cpu().numpy() for tensor in found)
        return logits, embeddings
