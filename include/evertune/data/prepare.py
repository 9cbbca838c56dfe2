"""From valid rows to a dataset: normalised, without copies, split, labels numbered, tokenised.

Two passes over the rows, in batches. The first decides which rows stay and on which side; it holds the texts once, as
Arrow. The second tokenises and writes. Rows keep the order in which they were drawn; the same input and the same
libraries give the same bytes.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np

from evertune import files
from evertune.data import rows as reading
from evertune.data import split as splitting
from evertune.data.duplicates import near_duplicates
from evertune.data.output import write
from evertune.data.rows import Mask, Rows, Texts
from evertune.data.split import SPLITS
from evertune.project import Project
from evertune.records import EvertuneError, RowCounts, UnfitError


def prepare(project: Project, valid: Path, base: Path, out: Path) -> None:
    """Write the dataset made of the valid rows, sealed, to ``out``.

    ``base`` is the base model's folder, for its tokenizer. Raises :class:`UnfitError` where validation did not pass, or
    nothing could be learnt or judged (see :func:`evertune.data.split.check`).
    """
    before = _validated(valid)
    _check_length(project.preparation.max_tokens, base)
    rows = reading.read(project, valid / "rows.parquet")
    if len(rows.ids) != before["valid"]:
        raise EvertuneError(
            f"{rows.source} has {len(rows.ids)} rows, its summary says {before['valid']}. Validate it again."
        )
    kept, copies = without_copies(rows, project.preparation.near_duplicates)
    counts = per_class(rows, kept)
    warnings = splitting.check(counts, rows.labels)
    account = RowCounts(
        drawn=before["drawn"],
        unlabelled=before["unlabelled"],
        quarantined=before["quarantined"],
        deduplicated=int((~kept).sum()),
        **{name: sum(count) for name, count in counts.items()},
    )
    classes = {name: dict(zip(rows.labels, count, strict=True)) for name, count in counts.items()}
    with files.new_folder(out) as folder:
        written = write(folder, rows, kept, base, project.preparation.max_tokens)
        files.write_json(folder / "labels.json", rows.labels)
        summary = {**account.model_dump(), **copies, **written, "classes": classes, "warnings": warnings}
        files.write_json(folder / "summary.json", summary)


def without_copies(rows: Rows, threshold: float | None) -> tuple[Mask, dict[str, Any]]:
    """Which rows stay, and how many went: exact copies, and near ones by side (``train near test``)."""
    unique = reading.first_of_each(rows)
    kept = np.zeros(len(rows.ids), dtype=bool)
    kept[unique] = True
    near: Counter[str] = Counter()
    if threshold is not None:
        splits = rows.splits[unique]
        order = np.lexsort((rows.ids[unique], splits))
        dropped = near_duplicates(Texts(rows, kept), splits, rows.classes[unique], order, threshold)
        kept[unique[list(dropped)]] = False
        near.update(f"{SPLITS[splits[row]]} near {SPLITS[splits[stays]]}" for row, stays in dropped.items())
    return kept, {"exact_duplicates": len(rows.ids) - len(unique), "near_duplicates": dict(near)}


def per_class(rows: Rows, kept: Mask) -> dict[str, list[int]]:
    """Rows that stay, by split and then by class in the order of the labels."""
    size = len(rows.labels)
    return {
        name: np.bincount(rows.classes[kept & (rows.splits == number)], minlength=size).tolist()
        for number, name in enumerate(SPLITS)
    }


def _validated(valid: Path) -> dict[str, Any]:
    """The summary of the valid rows; raises where they are torn or unfit."""
    files.verify(valid)
    summary: dict[str, Any] = files.read_json(valid / "summary.json")
    if not summary.get("fit", True):
        raise UnfitError(f"{valid} did not pass validation, so it is not prepared. Its summary.json has the reasons.")
    return summary


def _check_length(max_tokens: int, base: Path) -> None:
    config = base / "config.json"
    limit = files.read_json(config).get("max_position_embeddings") if config.is_file() else None
    if limit is not None and max_tokens > limit:
        raise UnfitError(f"preparation.max_tokens is {max_tokens}, but {base} reads at most {limit}. Lower it.")
