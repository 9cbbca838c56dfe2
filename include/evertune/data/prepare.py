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
from evertune.data import recent
from evertune.data import rows as reading
from evertune.data import split as splitting
from evertune.data.duplicates import near_duplicates
from evertune.data.output import write
from evertune.data.recent import Floats
from evertune.data.rows import Mask, Rows, Texts
from evertune.data.split import LEFT_OUT, RECENT, SIDES, SPLITS, TRAIN, VALIDATION
from evertune.models import positions
from evertune.project import Project
from evertune.records import EvertuneError, RowCounts, TrafficCounts, UnfitError


def prepare(project: Project, valid: Path, base: Path, out: Path) -> None:
    """Write the dataset made of the valid rows, sealed, to ``out``.

    ``base`` is the base model's folder, for its tokenizer. Raises :class:`UnfitError` where validation did not pass, or
    nothing could be learnt or judged (see :func:`evertune.data.split.check`).
    """
    before = _validated(valid)
    _check_length(project.preparation.max_tokens, base)
    rows = reading.read(project, valid / "rows.parquet", _traffic(valid, before))
    if rows.of_sources != before["valid"]:
        raise EvertuneError(
            f"{rows.source} has {rows.of_sources} rows, its summary says {before['valid']}. Validate it again."
        )
    unique, copies = without_copies(rows, project.preparation.near_duplicates)
    kept = not_too_many(rows, unique, project.retraining.traffic_share)
    warnings = splitting.check(per_class(rows, kept), rows.labels)
    counts = per_class(rows, kept & ~rows.is_traffic)
    account = RowCounts(
        drawn=before["drawn"],
        unlabelled=before["unlabelled"],
        quarantined=before["quarantined"],
        deduplicated=int((~kept[: rows.of_sources]).sum()),
        **{name: sum(count) for name, count in counts.items()},
        traffic=_traffic_counts(rows, unique, kept, before),
    )
    classes = {name: dict(zip(rows.labels, count, strict=True)) for name, count in counts.items()}
    weights = None if rows.traffic is None else _weights(rows, kept)
    with files.new_folder(out) as folder:
        written = write(folder, rows, kept, base, project.preparation.max_tokens, weights=weights)
        files.write_json(folder / "labels.json", rows.labels)
        told = account.model_dump(exclude_none=True)
        summary = {**told, **copies, **written, "classes": classes, "warnings": warnings}
        files.write_json(folder / "summary.json", summary)


def without_copies(rows: Rows, threshold: float | None) -> tuple[Mask, dict[str, Any]]:
    """Which rows stay, and how many went: exact copies, and near ones by side (``train near test``)."""
    unique = reading.first_of_each(rows)
    unique = unique[rows.splits[unique] != LEFT_OUT]
    kept = np.zeros(len(rows.ids), dtype=bool)
    kept[unique] = True
    near: Counter[str] = Counter()
    if threshold is not None:
        splits = rows.splits[unique]
        order = np.lexsort((rows.ids[unique], rows.is_traffic[unique], rows.precedence[unique]))
        dropped = near_duplicates(Texts(rows, kept), splits, rows.classes[unique], order, threshold)
        kept[unique[list(dropped)]] = False
        near.update(f"{SIDES[splits[row]]} near {SIDES[splits[stays]]}" for row, stays in dropped.items())
    exact = int((rows.splits != LEFT_OUT).sum()) - len(unique)
    return kept, {"exact_duplicates": exact, "near_duplicates": dict(near)}


def not_too_many(rows: Rows, kept: Mask, share: float) -> Mask:
    """The rows that stay when traffic may be at most ``share`` of what is trained on; validation gets the same mix."""
    if rows.traffic is None:
        return kept
    kept, traffic = kept.copy(), rows.is_traffic
    times = np.array([time for batch in reading.batches(rows.traffic, ["time"]) for time in batch["time"].to_pylist()])
    for side in (VALIDATION, TRAIN):
        some = np.flatnonzero(kept & traffic & (rows.splits == side))
        others = int((kept & ~traffic & (rows.splits == side)).sum())
        newest_first = times[some - rows.of_sources].tolist()
        kept[some[recent.too_many(newest_first, rows.ids[some], others, share)]] = False
    return kept


def _weights(rows: Rows, kept: Mask) -> Floats:
    """Of each row, how heavily it counts where it is judged on; NaN for all others."""
    assert rows.traffic is not None  # noqa: S101 - asked for by the caller
    chances = np.full(len(rows.ids), np.nan)
    for start, batch in reading.numbered(rows.traffic, ["traffic:probability"]):
        at = rows.of_sources + start
        chances[at : at + len(batch)] = batch["traffic:probability"].to_numpy(zero_copy_only=False)
    found = np.full(len(rows.ids), np.nan)
    judged = kept & (rows.splits == RECENT)
    found[judged] = recent.weights(chances[judged])
    return found


def _traffic_counts(rows: Rows, unique: Mask, kept: Mask, before: dict[str, Any]) -> TrafficCounts | None:
    if rows.traffic is None:
        return None
    traffic, useless = rows.is_traffic, rows.splits == LEFT_OUT

    def on(side: int) -> int:
        return int((traffic & kept & (rows.splits == side)).sum())

    return TrafficCounts(
        labelled=before["traffic"]["drawn"],
        quarantined=before["traffic"]["quarantined"],
        deduplicated=int((traffic & ~unique & ~useless).sum()),
        left_out=int((traffic & (useless | (unique & ~kept))).sum()),
        train=on(TRAIN),
        validation=on(VALIDATION),
        recent=on(RECENT),
    )


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


def _traffic(valid: Path, summary: dict[str, Any]) -> Path | None:
    return valid / "traffic.parquet" if "traffic" in summary else None


def _check_length(max_tokens: int, base: Path) -> None:
    config = base / "config.json"
    limit = positions.most(files.read_json(config)) if config.is_file() else None
    if limit is not None and max_tokens > limit:
        raise UnfitError(f"preparation.max_tokens is {max_tokens}, but {base} reads at most {limit}. Lower it.")
