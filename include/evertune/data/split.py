"""Which rows are for what: a salted hash of the group decides, so a row never changes sides.

Each group has a fixed position in [0, 1). Below ``test`` it is judged on, from there to ``test + validation`` it is for
early stopping, above that it is trained on. Nothing but the group and the salt enters, so rows that are added later,
live traffic among them, leave every earlier row where it was: a model can never be judged on what an earlier one was
trained on. The price is that the shares are those of a binomial draw and cannot be stratified: to give each class its
exact share, rows would have to move when others arrive. What came out is counted by class instead (see :func:`check`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

from evertune.project.options import Split
from evertune.records import UnfitError

SPLITS = ("test", "validation", "train")
"""Of the sources' rows. Where two near rows meet, a test row stays before a validation row before a training row."""
TEST, VALIDATION, TRAIN, RECENT, LEFT_OUT = range(5)
"""Sides, as indices into :data:`SIDES`; of traffic the last one is for nothing."""
SIDES = (*SPLITS, "recent", "left out")
"""``recent`` are the rows of labelled traffic that are judged on (see :mod:`evertune.data.recent`)."""
PRECEDENCE = (0, 2, 3, 1, 4)
"""By side: of two near rows the one of the lower number stays. What is judged on drives out what is trained on, and
the frozen test rows stay whatever the traffic brings."""


def position(group: str, salt: str) -> float:
    """Fixed place of the group in [0, 1), uniform over groups."""
    digest = hashlib.sha256(f"{salt}\0{group}".encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:6], "big") / 2**48  # 48 bits are exact in a double, and so always less than 1


def assign(group: str, split: Split) -> int:
    """Index into :data:`SPLITS` of the group's rows."""
    place = position(group, split.salt)
    if place < split.test:
        return 0
    return 1 if place < split.test + split.validation else 2


def check(counts: Mapping[str, Sequence[int]], labels: Sequence[str]) -> list[str]:
    """Judge the split by its rows per class, ``counts[split][label index]``; return warnings, one sentence each.

    Raises :class:`UnfitError` where training or judging would be meaningless: an empty split, a class that is never
    trained on, or fewer than two classes to judge on. A class that only the test or validation rows lack is a
    warning, because its quality stays unknown but the others' does not.
    """
    for name in SPLITS:
        if not sum(counts[name]):
            raise UnfitError(
                f"No {name} rows: too few groups for preparation.split. Draw more rows or raise its share."
            )
    untrained = [label for label, n in zip(labels, counts["train"], strict=True) if not n]
    if untrained:
        raise UnfitError(
            f"No training rows for {_some(untrained)}: the model could never learn it. Draw more rows of it, or take "
            "it out of data.label."
        )
    if sum(n > 0 for n in counts["test"]) < 2:
        raise UnfitError("All test rows are of one class, so nothing can be judged. Draw more rows, in smaller groups.")
    return [
        f"No {name} rows for {_some(lacking)}: {consequence}"
        for name, consequence in (
            ("test", "its quality is not measured."),
            ("validation", "early stopping does not look at it."),
        )
        if (lacking := [label for label, n in zip(labels, counts[name], strict=True) if not n])
    ]


def _some(labels: Sequence[str]) -> str:
    shown = ", ".join(repr(label) for label in labels[:5])
    noun = "class" if len(labels) == 1 else "classes"
    return f"{noun} {shown}" + (f" and {len(labels) - 5} more" if len(labels) > 5 else "")
