"""The model as a peer serves it: the bundle's files by transformers and torch, or evertune's ONNX file by its runtime.

Imported in the peers' own virtual environment, which sees evertune's packages but not evertune.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np


class PeerModel:
    """Texts in, (label, scores) out, one padded batch a call."""

    def __init__(self) -> None:
        """``PEER_BUNDLE`` is the bundle's folder; ``PEER_ONNX`` a model file instead of its weights."""
        from tokenizers import Tokenizer

        folder = Path(os.environ["PEER_BUNDLE"])
        facts = json.loads((folder / "evertune.json").read_text())
        self.labels, self.temperature = facts["labels"], facts["temperature"]
        self.tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(facts["max_tokens"])
        self.tokenizer.enable_padding()
        self.logits = _onnx(os.environ["PEER_ONNX"]) if os.environ.get("PEER_ONNX") else _torch(folder)

    def __call__(self, texts: list[str]) -> list[dict[str, Any]]:
        """Answers in the order of the texts."""
        rows = self.tokenizer.encode_batch(texts)
        ids = np.array([row.ids for row in rows], np.int64)
        mask = np.array([row.attention_mask for row in rows], np.int64)
        scores = self.logits(ids, mask) / self.temperature
        powers = np.exp(scores - scores.max(1, keepdims=True))
        shares = powers / powers.sum(1, keepdims=True)
        return [
            {"label": self.labels[int(row.argmax())], "scores": dict(zip(self.labels, row.tolist(), strict=True))}
            for row in shares
        ]


def _torch(folder: Path) -> Any:
    import torch
    import transformers

    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder).eval()

    def logits(ids: Any, mask: Any) -> Any:
        with torch.inference_mode():
            return model(input_ids=torch.from_numpy(ids), attention_mask=torch.from_numpy(mask)).logits.numpy()

    return logits


def _onnx(path: str) -> Any:
    import onnxruntime

    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def logits(ids: Any, mask: Any) -> Any:
        return session.run([session.get_outputs()[0].name], dict(zip(names, (ids, mask), strict=True)))[0]

    return logits
