"""One release, ready to answer: what came with its bundle, and the model that was built from it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from evertune import files, text
from evertune.models import bundle, forward
from evertune.models.classifier import softmax
from evertune.records import EvertuneError, JsonObject, Release
from evertune.serving.engine.answers import Attribution, EngineError, Prediction
from evertune.serving.engine.report import EngineReport

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Floats = NDArray[np.float32]
MODEL, WEIGHTS, REPORT = "model.onnx", "weights.bin", "report.json"
"""Files of a built engine, besides its manifest. Only ONNX Runtime's have a model, and of kind ``torch`` there are no
weights either: the bundle itself is run."""


class Model(Protocol):
    """What computes. Any number of threads may use it at a time."""

    padded: ClassVar[bool]
    """Whether shorter rows of a batch cost as much as its longest."""

    def run(self, rows: Sequence[Sequence[int]], *, alone: bool = False) -> tuple[Floats, Floats]:
        """Logits ``[rows, classes]`` and embeddings ``[rows, width]`` of rows of token ids, as one batch.

        ``alone`` says that nothing else is being computed, so that all cores may share the batch.
        """
        ...


class Encoded(NamedTuple):
    """One text as the model takes it."""

    text: str
    """Redacted and normalised."""
    ids: list[int]
    cut: bool


@dataclass(frozen=True, eq=False)
class Served:
    """A release with everything that an answer needs. Immutable: a new release is a new one of these."""

    release: Release
    labels: tuple[str, ...]
    model: Model
    engine: EngineReport
    max_tokens: int
    temperature: float
    tokenizer: Tokenizer
    redactor: text.Redactor
    about: JsonObject = field(default_factory=dict)
    """Card, metrics and data version, for those who ask what answers."""

    def encode(self, texts: Sequence[str]) -> list[Encoded]:
        """The texts as the model takes them, by the same functions as in training."""
        cleaned = [text.clean(raw, self.redactor)[0] for raw in texts]
        return self.encode_cleaned(cleaned)

    def encode_cleaned(self, cleaned: Sequence[str]) -> list[Encoded]:
        """The same of texts that are redacted and normalised already."""
        ids, cut = text.encode(self.tokenizer, cleaned, self.max_tokens)
        return [Encoded(*parts) for parts in zip(cleaned, ids, cut, strict=True)]

    def spans(self, cleaned: str) -> list[tuple[int, int]]:
        """Where each token that the model sees of the text stands in it."""
        return text.spans(self.tokenizer, cleaned, self.max_tokens)

    def probabilities(self, logits: Floats) -> Floats:
        """Calibrated probabilities ``[rows, classes]``.

        Raises :class:`EngineError` where the model's answers are none: the largest of NaNs would pass for a label.
        """
        if logits.shape[1:] != (len(self.labels),) or not np.isfinite(logits).all():
            raise EngineError("The model's answers are not finite numbers, one a label.")
        return softmax(logits, self.temperature)

    def prediction(
        self, row: Encoded, scores: Floats, embedding: Floats, attributions: tuple[Attribution, ...] | None = None
    ) -> Prediction:
        """The answer to one text, from its row of probabilities and its embedding."""
        return Prediction(
            label=self.labels[int(scores.argmax())],
            scores=tuple(scores.tolist()),
            embedding=embedding.astype(np.float16),
            text=row.text,
            cut=row.cut,
            tokens=len(row.ids),
            attributions=attributions,
        )

    def answer(self, texts: Sequence[str], tokens_per_batch: int = 192) -> list[Prediction]:
        """Answers without a queue, computed on all cores: for warming up and for scoring whole files.

        Raises :class:`EngineError` where the model's answers are none.
        """
        rows = self.encode(texts)
        logits, embeddings = in_batches(self.model, [row.ids for row in rows], tokens_per_batch, cores())
        scores = self.probabilities(logits) if rows else logits
        return [self.prediction(row, scores[place], embeddings[place]) for place, row in enumerate(rows)]


def in_batches(
    model: Model, rows: Sequence[Sequence[int]], tokens_per_batch: int, threads: int = 1
) -> tuple[Floats, Floats]:
    """Logits and embeddings of any number of rows, in their order, computed in batches of near-equal lengths.

    ``threads`` batches are computed at a time; a single one is computed on all cores then.
    """
    if not rows:
        return np.zeros((0, 0), np.float32), np.zeros((0, 0), np.float32)
    logits: list[Floats | None] = [None] * len(rows)
    embeddings: list[Floats | None] = [None] * len(rows)
    batches = list(forward.by_length([len(row) for row in rows], tokens_per_batch))
    alone = threads > 1 and len(batches) == 1
    with ThreadPoolExecutor(threads) as pool:
        computed = pool.map(lambda picked: model.run([rows[place] for place in picked], alone=alone), batches)
        for picked, found in zip(batches, computed, strict=True):
            for place, one, other in zip(picked.tolist(), *found, strict=True):
                logits[place], embeddings[place] = one, other
    return np.stack([row for row in logits if row is not None]), np.stack(
        [row for row in embeddings if row is not None]
    )


def cores() -> int:
    """Cores that this process may use. The event loop needs a tenth of one."""
    return len(os.sched_getaffinity(0))


def load(bundle_folder: Path, digest: str, engine: Path, release: Release, about: JsonObject) -> Served:
    """The release from its verified bundle and the engine that was built of it.

    Raises :class:`CorruptError` where either is not what it was when it was sealed.
    """
    bundle.check(bundle_folder, digest)
    facts = bundle.facts(bundle_folder)
    report = read_report(engine)
    custom = {own.name: own.pattern for own in facts.redaction.custom}
    return Served(
        release=release,
        labels=facts.labels,
        model=_model(bundle_folder, digest, engine, report),
        engine=report,
        max_tokens=facts.max_tokens,
        temperature=facts.temperature,
        tokenizer=text.load_tokenizer(bundle_folder),
        redactor=text.Redactor(facts.redaction.patterns, custom),
        about=about,
    )


def read_report(engine: Path) -> EngineReport:
    """The report of a sealed engine, every file of which is verified."""
    files.verify(engine)
    try:
        return EngineReport.model_validate(files.read_json(engine / REPORT))
    except ValueError as fault:
        raise files.CorruptError(
            f"{engine / REPORT} is no engine's report. Delete the folder; it is built anew."
        ) from fault


def _model(bundle_folder: Path, digest: str, engine: Path, report: EngineReport) -> Model:
    if report.kind == "torch":
        from evertune.serving.engine.torch_model import TorchModel

        return TorchModel(bundle_folder, digest)
    if report.kind == "amx-bf16":
        from evertune.serving.engine.native.encoder import AmxModel

        return AmxModel(engine)
    from evertune.serving.engine.session import OnnxModel

    try:
        return OnnxModel(engine / MODEL, filler(bundle_folder), cores())
    except Exception as fault:  # onnxruntime has no public base of its exceptions
        raise EvertuneError(f"{engine} cannot be loaded ({fault}). Delete the folder; it is built anew.") from fault


def filler(bundle_folder: Path) -> int:
    """The token id that pads a row: some models tell padding from text by it."""
    return int(files.read_json(bundle_folder / bundle.CONFIG).get("pad_token_id") or 0)
