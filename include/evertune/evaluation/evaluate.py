"""Measure a candidate on the frozen test rows, in pairs with the champion and against answers that need no training.

The folder that comes out is sealed: the paired answers (what the gate judges by), the evaluation as JSON, and
pictures. Run again on the same inputs, it holds the same numbers, but for the latency.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from evertune import files
from evertune.evaluation import baselines, paired, pictures, summary
from evertune.evaluation.paired import (
    CHAMPION,
    CLASS_SLICE,
    LENGTH_SLICE,
    MAJORITY,
    UNTUNED,
    Pairs,
    Probabilities,
)
from evertune.models import shortage
from evertune.project import Project
from evertune.records import Evaluation, UnfitError

if TYPE_CHECKING:
    import pyarrow as pa

    from evertune.models.classifier import Classifier

LATENCY_ROWS = 50
WARM_UP_ROWS = 5
NOTHING = "(none)"
"""Slice value of rows whose column is empty."""


@dataclass(frozen=True, eq=False)
class _Split:
    """One split of the dataset, as far as evaluating needs it."""

    table: pa.Table
    truth: NDArray[np.int64]
    ids: list[NDArray[np.int32]]


def evaluate(  # noqa: PLR0917  the contract between the rooms: callers name them
    project: Project,
    run_key: str,
    dataset: Path,
    challenger: Path,
    champion: Path | None,
    champion_generation: int,
    base: Path,
    out: Path,
) -> Evaluation:
    """Score ``challenger`` and ``champion`` (bundles) on the test rows of ``dataset`` and write the folder ``out``.

    Where the dataset has recent traffic to judge on, both answer that too, and it is kept apart.
    ``base`` is the untuned model's folder. Raises :class:`UnfitError` where the test split is empty, a slice column is
    missing, a bundle knows none of the classes or memory runs out, and :class:`files.CorruptError` where a folder is
    not whole.
    """
    version = files.verify(dataset)
    labels: tuple[str, ...] = tuple(files.read_json(dataset / "labels.json"))
    train, test = _read(dataset, "train"), _read(dataset, "test")
    if not len(test.truth):
        raise UnfitError("The dataset has no test rows. Raise preparation.split.test, or draw more data.")
    columns = _slice_columns(project, test, labels)
    with _shortage_told(project, train, test):
        model = _load(challenger)
        answers, latency = _answers(model, labels, test), _latency(model, test)
        old = None if champion is None else _load(champion)
        opponents = {} if old is None else {CHAMPION: _answers(old, labels, test)}
        opponents[MAJORITY] = baselines.majority(train.truth, len(labels), len(test.truth))
        opponents[UNTUNED] = _untuned(base, train, test, len(labels))
        pairs = Pairs(
            row_ids=test.table["row_id"].to_pylist(),
            labels=labels,
            truth=test.truth,
            challenger=answers,
            opponents=opponents,
            groups=paired.number_groups(test.table["group"].to_pylist()),
            columns=columns,
            min_slice_rows=project.evaluation.min_slice_rows,
            recent=_recent(dataset, labels, model, old),
        )
    facts = {
        "run_key": run_key,
        "dataset_version": version,
        "champion_generation": champion_generation,
        "latency_ms": latency,
        "model_bytes": sum(file.stat().st_size for file in challenger.rglob("*") if file.is_file()),
        "pairs": str(out / "pairs.parquet"),
    }
    return _write(summary.of(pairs, facts), pairs, out)


def _shortage_told(project: Project, *splits: _Split) -> AbstractContextManager[None]:
    def ways() -> list[str]:
        return [*shortage.shorter(max(len(ids) for split in splits for ids in split.ids)), shortage.LARGER]

    return shortage.told(f"{project.slug} was evaluated", ways)


def _write(evaluation: Evaluation, pairs: Pairs, out: Path) -> Evaluation:
    with files.new_folder(out) as folder:
        paired.write(pairs, folder / "pairs.parquet")
        files.write_json(folder / "evaluation.json", evaluation.model_dump(mode="json"))
        champion = evaluation.champion.confusion if evaluation.champion else None
        pictures.confusion(pairs.labels, evaluation.challenger.confusion, champion, folder / "confusion.png")
        pictures.slices(evaluation, folder / "slices.png", pairs.min_slice_rows)
    return evaluation


def _read(dataset: Path, split: str) -> _Split:
    import pyarrow.parquet as pq

    table = pq.read_table(dataset / f"{split}.parquet")
    flat = np.load(dataset / f"{split}.ids.npy", mmap_mode="r", allow_pickle=False)
    ends = np.load(dataset / f"{split}.offsets.npy", allow_pickle=False)
    ids = [np.asarray(flat[start:end]) for start, end in itertools.pairwise(ends.tolist())]
    return _Split(table, table["label_index"].to_numpy().astype(np.int64), ids)


def _recent(
    dataset: Path, labels: tuple[str, ...], challenger: Classifier, champion: Classifier | None
) -> Pairs | None:
    """Both models on recent labelled traffic, if the dataset has some to judge on."""
    if not (dataset / "recent.parquet").is_file():
        return None
    split = _read(dataset, "recent")
    if not len(split.truth):
        return None
    return Pairs(
        row_ids=split.table["row_id"].to_pylist(),
        labels=labels,
        truth=split.truth,
        challenger=_answers(challenger, labels, split),
        opponents={} if champion is None else {CHAMPION: _answers(champion, labels, split)},
        groups=paired.number_groups(split.table["group"].to_pylist()),
        weights=split.table["weight"].to_numpy(),
    )


def _load(bundle: Path) -> Classifier:
    from evertune.models import classifier

    return classifier.load(bundle)


def _answers(model: Classifier, labels: Sequence[str], split: _Split) -> Probabilities:
    return align(model.probabilities(split.table["text"].to_pylist()), model.labels, labels)


def _latency(model: Classifier, test: _Split) -> dict[str, float]:
    """Milliseconds of answering one row at a time."""
    texts: list[str] = test.table["text"].to_pylist()
    picked = [texts[i] for i in np.linspace(0, len(texts) - 1, min(LATENCY_ROWS, len(texts)), dtype=int)]
    for text in picked[:WARM_UP_ROWS]:
        model.probabilities([text])
    seconds = []
    for text in picked:
        start = time.perf_counter()
        model.probabilities([text])
        seconds.append(time.perf_counter() - start)
    return {f"p{q}": 1000 * float(np.percentile(seconds, q)) for q in (50, 95)}


def align(probabilities: NDArray[np.floating], known: Sequence[str], labels: Sequence[str]) -> Probabilities:
    """A model's probabilities in the order of the dataset's labels: ``[rows, len(labels)]``.

    A champion may be older than a class, which it then never answers, or know one that no row has any more, which is
    left out: its next best answer counts, in its favour.
    """
    if not set(known) & set(labels):
        raise UnfitError(
            f"The model knows none of the dataset's classes: it answers {', '.join(sorted(known)[:5])}, the rows have "
            f"{', '.join(sorted(labels)[:5])}. Was the label rule changed? Then start a project with another slug."
        )
    found = np.zeros((len(probabilities), len(labels)), np.float32)
    place = {label: i for i, label in enumerate(known)}
    for i, label in enumerate(labels):
        if label in place:
            found[:, i] = probabilities[:, place[label]]
    return found


def _untuned(base: Path, train: _Split, test: _Split, classes: int) -> Probabilities:
    picked = baselines.pick(train.truth, classes)
    rows = baselines.embeddings(base, [*test.ids, *(train.ids[i] for i in picked)])
    return baselines.nearest_label(rows[: len(test.ids)], rows[len(test.ids) :], train.truth[picked], classes)


def _slice_columns(project: Project, test: _Split, labels: Sequence[str]) -> dict[str, Sequence[str]]:
    missing = [name for name in project.evaluation.slices if name not in test.table.column_names]
    if missing:
        raise UnfitError(
            f"evaluation.slices names {', '.join(missing)}, which the dataset does not have. Name the column in "
            "data.columns.keep or in a source's constants."
        )
    lengths = test.table["tokens"].to_numpy()
    short, long = np.quantile(lengths, [1 / 3, 2 / 3])
    named = {
        LENGTH_SLICE: np.where(lengths <= short, "short", np.where(lengths <= long, "medium", "long")).tolist(),
        CLASS_SLICE: [labels[i] for i in test.truth],
    }
    kept = {name: test.table[name].cast("string").to_pylist() for name in project.evaluation.slices}
    return {**{name: [v or NOTHING for v in values] for name, values in kept.items()}, **named}
