"""The label rule: how what stands in the label column becomes a class."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from evertune.project.options import Cut, LabelRule
from evertune.text import normalise

if TYPE_CHECKING:
    import numpy.typing as npt

NONE = -1
"""The code of a row without a class: missing, unknown, not a number, or ambiguous."""


@dataclass(frozen=True)
class Labels:
    """The label column after the rule; arrays are as long as the column."""

    classes: tuple[str, ...]
    """The classes, in the order of the rule, or sorted where every value seen is a class."""
    codes: npt.NDArray[np.int32]
    """Index into ``classes``, or :data:`NONE`."""
    values: Any
    """The labels as they are read: normalised, null where there is none (``pyarrow`` dictionary array of strings)."""
    not_a_number: npt.NDArray[np.bool_]
    """Under ``cuts``: there is a label and it is no finite number."""
    ambiguous: npt.NDArray[np.bool_]
    """Under ``cuts``: a number that lies in no range. Such a row is left out, and is not bad."""


def apply(rule: LabelRule, column: Any) -> Labels:
    """Apply the rule to a ``pyarrow`` array of strings. Works on the distinct values, so a million rows cost little."""
    encoded = one(column).dictionary_encode()
    raw = [normalise(value) for value in encoded.dictionary.to_pylist()]
    codes, not_a_number, ambiguous, classes = _of_values(rule, raw)
    indices = encoded.indices.fill_null(len(raw)).to_numpy(zero_copy_only=False)
    return Labels(
        classes=classes,
        codes=np.append(codes, NONE).astype(np.int32)[indices],
        values=_values(raw, indices),
        not_a_number=np.append(not_a_number, False)[indices],
        ambiguous=np.append(ambiguous, False)[indices],
    )


def one(column: Any) -> Any:
    """The column as one array. To encode chunk by chunk would copy the growing dictionary for each."""
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        column = column.combine_chunks()
    if isinstance(column, pa.ChunkedArray):  # more than 2 GB of labels, or none
        column = pa.concat_arrays(
            [chunk.cast(pa.large_string()) for chunk in column.chunks] or [pa.array([], pa.string())]
        )
    return column


def _values(raw: list[str], indices: npt.NDArray[np.int32]) -> Any:
    """Each row's label after normalising: equal ones have one code, blank ones none."""
    import pyarrow as pa

    place: dict[str, int] = {}
    codes = np.array([place.setdefault(value, len(place)) if value else NONE for value in raw] + [NONE], np.int32)
    chosen = codes[indices]
    return pa.DictionaryArray.from_arrays(
        pa.array(chosen, pa.int32(), mask=chosen == NONE), pa.array(list(place), pa.string())
    )


def _of_values(
    rule: LabelRule, values: list[str]
) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_], npt.NDArray[np.bool_], tuple[str, ...]]:
    """For each distinct value: class code, whether it is no number, whether it is ambiguous; and the classes."""
    nothing = np.zeros(len(values), np.bool_)
    if rule.cuts is not None:
        scores = np.array([number(value) for value in values], np.float64)
        codes, classes = _cut(rule.cuts, scores)
        no_number = np.array([bool(value) for value in values], np.bool_) & np.isnan(scores)
        return codes, no_number, ~np.isnan(scores) & (codes == NONE), classes
    classes = rule.classes if rule.classes is not None else tuple(sorted({value for value in values if value}))
    place = {normalise(name): code for code, name in enumerate(classes)}
    codes = np.array([place.get(value, NONE) for value in values], np.int32)
    return codes, nothing, nothing, classes


def number(value: str) -> float:
    """The finite number that the label is, else NaN."""
    try:
        found = float(value)
    except ValueError:
        return float("nan")
    return found if np.isfinite(found) else float("nan")


def _cut(cuts: Sequence[Cut], scores: npt.NDArray[np.float64]) -> tuple[npt.NDArray[np.int32], tuple[str, ...]]:
    # Two ranges may bear one label (both ends of a scale, say): a class is named once.
    classes = tuple(dict.fromkeys(cut.label for cut in cuts))
    codes = np.full(len(scores), NONE, np.int32)
    for cut in cuts:
        inside = ~np.isnan(scores)
        if cut.at_least is not None:
            inside &= scores >= cut.at_least
        if cut.below is not None:
            inside &= scores < cut.below
        codes[inside] = classes.index(cut.label)
    return codes, classes


def nearest(label: str, classes: Sequence[str]) -> str | None:
    """The class that was probably meant, if any comes near."""
    folded = {name.casefold(): name for name in classes}
    found = difflib.get_close_matches(label.casefold(), folded, n=1, cutoff=0.6)
    return folded[found[0]] if found else None
