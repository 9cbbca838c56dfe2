"""Answers from a bundle: raw text in, probabilities out, exactly as in training."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from evertune import files, text
from evertune.models import bundle, devices, forward

if TYPE_CHECKING:
    from torch import Tensor

Floats = NDArray[np.float32]


class Classifier:
    """A loaded bundle. Deterministic: the same texts in the same call give the same bits on the same machine.

    It uses torch's threads as the process has set them. Safe to share between threads, since nothing is written.
    """

    def __init__(self, model: Any, folder: Path, digest: str) -> None:
        facts = bundle.facts(folder)
        self.labels = facts.labels
        self.digest = digest
        self.max_tokens = facts.max_tokens
        self.temperature = facts.temperature
        self.embedded = facts.embedded
        self._model = model
        self._tokenizer = text.load_tokenizer(folder)
        custom = {own.name: own.pattern for own in facts.redaction.custom}
        self._redactor = text.Redactor(facts.redaction.patterns, custom)

    @property
    def network(self) -> Any:
        """The transformers model, in evaluation mode, for what starts from token ids."""
        return self._model

    def probabilities(self, texts: Sequence[str], tokens_per_batch: int = 4096) -> Floats:
        """Calibrated probabilities ``[texts, classes]``, in the order of ``texts`` and of :attr:`labels`."""
        scores = self._batched(texts, tokens_per_batch, forward.logits, len(self.labels))
        return softmax(scores, self.temperature)

    def embeddings(self, texts: Sequence[str], tokens_per_batch: int = 4096) -> Floats:
        """Mean of the tuned model's hidden states over each text's tokens: ``[texts, width]``."""
        compute = partial(forward.embeddings, states=self.embedded)
        return self._batched(texts, tokens_per_batch, compute, self._model.config.hidden_size)

    def _batched(
        self, texts: Sequence[str], budget: int, compute: Callable[[Any, Sequence[forward.Ids]], Tensor], width: int
    ) -> Floats:
        import torch

        found = np.zeros((len(texts), width), np.float32)
        rows = self._encode(texts)
        with torch.inference_mode():
            for picked in forward.by_length([len(row) for row in rows], budget):
                found[picked] = compute(self._model, [rows[place] for place in picked]).float().cpu().numpy()
        return found

    def _encode(self, texts: Sequence[str]) -> list[list[int]]:
        cleaned = [text.clean(raw, self._redactor)[0] for raw in texts]
        return text.encode(self._tokenizer, cleaned, self.max_tokens)[0]


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities ``[rows, classes]`` of logits divided by ``temperature``."""
    scores = logits.astype(np.float64) / temperature
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), np.float32)


def macro_f1(truth: NDArray[np.integer], answers: NDArray[np.integer], classes: int) -> float:
    """Mean of the classes' F1; a class that neither occurs nor is answered does not count."""
    counts = np.bincount(truth * classes + answers, minlength=classes * classes).reshape(classes, classes)
    both = counts.sum(0) + counts.sum(1)
    there = both > 0
    return float((2 * counts.diagonal()[there] / both[there]).mean()) if there.any() else 0.0


def load(folder: Path, digest: str | None = None, device: str | None = None) -> Classifier:
    """The bundle's classifier, after :func:`bundle.check`, on ``device``: CUDA where none is named and there is one."""
    import torch
    import transformers

    found = bundle.check(folder, digest)
    with quiet():
        model, loaded = transformers.AutoModelForSequenceClassification.from_pretrained(
            folder,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            dtype=torch.float32,
            output_loading_info=True,
        )
    if odd := sorted({*loaded["missing_keys"], *loaded["unexpected_keys"], *map(str, loaded["mismatched_keys"])}):
        raise files.CorruptError(f"{folder}: weights and configuration disagree about {', '.join(odd[:5])}.")
    return Classifier(model.to(device or devices.best()).eval(), folder, found)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep transformers from drawing bars and tables: what is missing is checked here and told in one sentence."""
    from transformers.utils import logging

    before, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(before)
        if bars:
            logging.enable_progress_bar()
