"""What was found: rows with reasons, expectations that the columns do not meet, and whether one may go on."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from evertune.project.options import Project

if TYPE_CHECKING:
    import numpy.typing as npt

EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """Rows that do not meet one expectation."""

    kind: str
    """What is wrong, as it is counted."""
    rows: npt.NDArray[np.int64]
    """Their numbers in the snapshot, ascending."""
    tell: Callable[[int], str]
    """Row number → what was seen there, in words."""


@dataclass(frozen=True)
class Findings:
    """All of a snapshot's findings. Every row is bad, left out as ambiguous, or good."""

    drawn: int
    bad: tuple[Finding, ...]
    """Each quarantines its rows."""
    ambiguous: npt.NDArray[np.bool_]
    """Rows that the label rule puts into no class."""
    codes: npt.NDArray[np.int32]
    """Class of each row, an index into ``classes``."""
    classes: tuple[str, ...]
    copy: npt.NDArray[np.float64]
    """1 where an earlier row has the same text and class."""
    excerpt: Callable[[int], str]
    """Row number → the beginning of its text."""
    unmet: tuple[str, ...] = ()
    """Expectations on columns as a whole that are not met, in words."""
    notes: tuple[str, ...] = ()
    """What stops nothing and somebody should look at."""
    quarantined: npt.NDArray[np.bool_] = field(init=False)
    good: npt.NDArray[np.bool_] = field(init=False)

    def __post_init__(self) -> None:
        quarantined = np.zeros(self.drawn, np.bool_)
        for finding in self.bad:
            quarantined[finding.rows] = True
        object.__setattr__(self, "quarantined", quarantined)
        object.__setattr__(self, "good", ~quarantined & ~self.ambiguous)

    @property
    def duplicates(self) -> int:
        """Good rows that repeat another one. Preparation drops them."""
        return int(np.count_nonzero(self.copy[self.good] == 1))

    @property
    def class_counts(self) -> dict[str, int]:
        """Good rows of each class, classes without any included."""
        counts = np.bincount(self.codes[self.good], minlength=len(self.classes))
        return {name: int(count) for name, count in zip(self.classes, counts, strict=True)}

    @property
    def reasons(self) -> dict[str, int]:
        """Kind → rows, the most frequent first. A row with two reasons counts in both."""
        counts = {finding.kind: len(finding.rows) for finding in self.bad if len(finding.rows)}
        return dict(sorted(counts.items(), key=lambda entry: (-entry[1], entry[0])))

    def reasons_of(self, start: int, stop: int) -> dict[int, list[str]]:
        """For each bad row from ``start`` up to ``stop``, its reasons in words."""
        said: dict[int, list[str]] = {}
        for finding in self.bad:
            first, last = np.searchsorted(finding.rows, [start, stop])
            for row in finding.rows[first:last].tolist():
                said.setdefault(row, []).append(f"{finding.kind}: {finding.tell(row)}")
        return said

    def examples(self, count: int = EXAMPLES) -> list[str]:
        """A few bad rows in words, of different kinds before more of one kind."""
        ordered = sorted((finding for finding in self.bad if len(finding.rows)), key=lambda one: -len(one.rows))
        said: list[str] = []
        for depth in range(count):
            for finding in ordered:
                if depth < len(finding.rows) and len(said) < count:
                    row = int(finding.rows[depth])
                    said.append(f"row {row:,}, {self.excerpt(row)}: {finding.kind}: {finding.tell(row)}")
        return said

    def summary(self, faults: Sequence[str]) -> dict[str, object]:
        """What ``summary.json`` holds. ``faults`` are those of :func:`unfit`."""
        return {
            "drawn": self.drawn,
            "unlabelled": int(np.count_nonzero(self.ambiguous & ~self.quarantined)),
            "quarantined": int(np.count_nonzero(self.quarantined)),
            "valid": int(np.count_nonzero(self.good)),
            "reasons": self.reasons,
            "duplicates": self.duplicates,
            "classes": self.class_counts,
            "fit": not faults,
            "faults": list(faults),
            **({"notes": list(self.notes)} if self.notes else {}),
        }


def unfit(project: Project, found: Findings) -> list[str]:
    """Why the run must not go on, in sentences that say what to do; empty where it may."""
    rules = project.validation
    if not found.drawn:
        return ["There are no rows. Look whether the sources are empty, or data.sources[].rows is too small."]
    faults = [f"An expectation on the column's whole is not met: {one}." for one in found.unmet]
    bad = int(np.count_nonzero(found.quarantined))
    if bad / found.drawn > rules.max_bad_share:
        faults.append(
            f"{bad:,} of {found.drawn:,} rows ({bad / found.drawn:.1%}) are bad, and validation.max_bad_share allows "
            f"{rules.max_bad_share:.1%}. Mend the source; or raise the limit, if these rows may be left out."
        )
    good = int(np.count_nonzero(found.good))
    if good < rules.min_rows:
        faults.append(
            f"{good:,} good rows are left of {found.drawn:,}, and validation.min_rows asks for {rules.min_rows:,}. "
            "Draw more rows; look at data.label if most were left out as ambiguous."
        )
    elif good - found.duplicates < rules.min_rows:
        faults.append(
            f"Only {good - found.duplicates:,} of the {good:,} good rows differ from each other, and "
            f"validation.min_rows asks for {rules.min_rows:,}. Look whether the source repeats itself."
        )
    left = [name for name, count in found.class_counts.items() if count]
    if good and len(left) < 2:
        faults.append(
            f'All {good:,} good rows are of one class, "{left[0][:60]}", and there is nothing to tell apart. '
            "Look at data.columns.label and data.label."
        )
    return faults
