"""Facts about each row of a snapshot, as columns that Great Expectations can judge.

A fact is null where it does not apply, and Great Expectations passes over nulls: so a text that is missing is
reported as missing, not also as too short and of the wrong script. The texts themselves are read in batches and
never held at once: a million rows need about 250 bytes each here, whatever their length.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.data.validation import labels, scripts
from evertune.project.options import Project

if TYPE_CHECKING:
    import numpy.typing as npt
    import pandas as pd

BATCH = 8192
EXCERPT = 40
"""Characters of a text that reports show."""
PLACEHOLDER = r"<[a-z][a-z0-9_]*>"
"""What redaction leaves, such as ``<email>``: Latin letters that are not the author's."""
SCALE_FLOOR = 0.1
"""Least robust standard deviation of log length, so that texts of nearly one length do not make each other outliers."""


@dataclass(frozen=True)
class Facts:
    """One entry a row of the snapshot; floats are NaN where the fact does not apply."""

    fault: Any
    """What drawing found wrong with the row, else null (``pyarrow`` dictionary array of strings)."""
    excerpt: Any
    """The text's beginning, null where there is no text (``pyarrow`` strings)."""
    labels: labels.Labels
    characters: npt.NDArray[np.float64]
    visible: npt.NDArray[np.float64]
    """Characters that are neither white space nor control characters."""
    script_share: npt.NDArray[np.float64]
    """Share of the letters that are of the project's script; NaN without letters."""
    length_deviation: npt.NDArray[np.float64]
    """Distance of log length from the median, in robust standard deviations. Texts of no length, or longer than is
    allowed, have none: another fact tells of them."""
    targets: npt.NDArray[np.float64]
    """How many different classes the rows with this very text have; NaN for a row without a class."""
    copy: npt.NDArray[np.float64]
    """1 for a row whose text and class stood in an earlier row, else 0; NaN for a row without a class."""

    def __len__(self) -> int:
        return len(self.characters)

    def frame(self) -> pd.DataFrame:
        """The facts as columns, by the names that people read in the Data Docs."""
        import pandas as pd

        values = self.labels.values
        return pd.DataFrame(
            {
                "fault": _category(self.fault),
                "characters": self.characters,
                "visible_characters": self.visible,
                "script_share": self.script_share,
                "length_deviation": self.length_deviation,
                "label": _category(values),
                "label_not_a_number": _category(_only(values, self.labels.not_a_number)),
                "targets_of_text": self.targets,
                "copy": self.copy,
            }
        )


def _category(column: Any) -> pd.Categorical:
    """The column as a category, because Great Expectations copies and hashes a frame again and again."""
    import pyarrow as pa

    encoded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    categories: pd.Categorical = encoded.to_pandas()
    return categories


def _only(column: Any, mask: npt.NDArray[np.bool_]) -> Any:
    import pyarrow as pa
    import pyarrow.compute as pc

    return pc.if_else(pa.array(mask), column, pa.scalar(None, column.type))


def batches(rows: Path, columns: list[str]) -> Iterator[Any]:
    """The columns of a Parquet file, as ``pyarrow`` record batches of bounded size."""
    import pyarrow.parquet as pq

    with pq.ParquetFile(rows) as file:
        yield from file.iter_batches(batch_size=BATCH, columns=columns)


def gather(project: Project, rows: Path) -> Facts:
    """Read the snapshot's ``rows.parquet`` and tell the facts of each row."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    excerpts, counts = [], [np.zeros((4, 0))]
    for batch in batches(rows, ["text"]):
        excerpt, numbers = _of_texts(project, batch.column("text"))
        excerpts.append(excerpt)
        counts.append(numbers)
    characters, visible, letters, of_script = np.concatenate(counts, axis=1)
    narrow = pq.read_table(rows, columns=["fault", "label"])
    applied = labels.apply(project.data.label, narrow.column("label"))
    targets, copy = _repeats(_codes(rows), applied.codes, ~np.isnan(characters))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = of_script / letters if project.validation.script else np.full(len(letters), np.nan)
    return Facts(
        fault=labels.one(narrow.column("fault")).dictionary_encode(),
        excerpt=labels.one(pa.chunked_array(excerpts, pa.string())),
        labels=applied,
        characters=characters,
        visible=visible,
        script_share=share,
        length_deviation=deviations(characters, visible, project.validation.max_characters),
        targets=targets,
        copy=copy,
    )


def _of_texts(project: Project, texts: Any) -> tuple[Any, npt.NDArray[np.float64]]:
    """Excerpts of a batch of texts; and, stacked, their characters, visible characters, letters, letters of script."""
    import pyarrow.compute as pc

    limit = project.validation.max_characters
    null = pc.is_null(texts).to_numpy(zero_copy_only=False)
    whole = texts.fill_null("")
    length = pc.utf8_length(whole).to_numpy(zero_copy_only=False)
    looked_at = pc.utf8_slice_codeunits(whole, 0, limit)
    bits = scripts.table(project.validation.script)
    (visible,) = scripts.count(looked_at, bits, (scripts.VISIBLE,))
    if project.validation.script is None:
        letters = of_script = np.zeros(len(length), np.int64)
    else:
        own = pc.replace_substring_regex(looked_at, PLACEHOLDER, " ")
        letters, of_script = scripts.count(own, bits, (scripts.LETTER, scripts.OF_SCRIPT))
    numbers = np.stack([length, visible, letters, of_script]).astype(np.float64)
    numbers[:, null] = np.nan
    return pc.utf8_slice_codeunits(texts, 0, EXCERPT).cast("string"), numbers


def deviations(
    characters: npt.NDArray[np.float64], visible: npt.NDArray[np.float64], max_characters: int
) -> npt.NDArray[np.float64]:
    """|log length − median| / (1.4826 · MAD), for texts that have a length within the limit (else NaN).

    The median absolute deviation, because a few giant texts must not widen the scale that they are measured by
    (Iglewicz & Hoaglin 1993); of the logarithm, because lengths are skewed.
    """
    fair = (visible >= 1) & (characters <= max_characters)
    found = np.full(len(characters), np.nan)
    if fair.any():
        logs = np.log(characters[fair])
        distance = np.abs(logs - np.median(logs))
        found[fair] = distance / max(1.4826 * float(np.median(distance)), SCALE_FLOOR)
    return found


def _codes(rows: Path) -> npt.NDArray[np.uint64]:
    """Equal ``row_id`` get equal numbers: 64 bits of a hash, which for a million rows collide once in 37 million runs.

    Numbers because a million hex strings, told apart exactly, take a quarter of a gigabyte.
    """
    import pandas as pd

    parts = [np.zeros(0, np.uint64)]
    for batch in batches(rows, ["row_id"]):
        values = batch.column("row_id").fill_null("").to_numpy(zero_copy_only=False)
        parts.append(pd.util.hash_array(values, categorize=False))
    return np.concatenate(parts)


def _repeats(
    texts: npt.NDArray[np.uint64], codes: npt.NDArray[np.int32], there: npt.NDArray[np.bool_]
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """For each row with a text and a class: how many classes its text has, and whether it repeats an earlier row."""
    targets, copy = np.full(len(texts), np.nan), np.full(len(texts), np.nan)
    which = np.flatnonzero(there & (codes != labels.NONE))
    if len(which):
        _, text = np.unique(texts[which], return_inverse=True)
        width = int(codes.max()) + 1
        pairs, first, inverse = np.unique(text * width + codes[which], return_index=True, return_inverse=True)
        targets[which] = np.bincount(pairs // width)[text]
        copy[which] = np.arange(len(which)) != first[inverse]
    return targets, copy
