"""What evertune itself expects of every row: the built-in part of the Great Expectations suite."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from evertune.data.validation.facts import Facts
from evertune.data.validation.labels import nearest
from evertune.project.options import Project
from evertune.text import normalise

LEAST_SHARE = 0.5
"""Share of a text's letters that must be of the project's script: most of them."""

Tell = Callable[[int], str]


@dataclass(frozen=True)
class Check:
    """An expectation on the facts, and how a row that does not meet it is spoken of."""

    kind: str
    """What is wrong, in two or three words: the name under which rows are counted."""
    expectation: Any
    """A Great Expectations expectation on a column of :meth:`Facts.frame`."""
    tell: Tell
    """Row number → what was seen there, in words."""
    quarantines: bool = True


def shorten(value: object, limit: int = 60) -> str:
    """The value in one line of at most about ``limit`` characters, quoted if it is text."""
    if not isinstance(value, str):
        return repr(value)[:limit]
    line = "".join(c if c.isprintable() else " " for c in value[: limit + 1])
    return f'"{line}"' if len(value) <= limit else f'"{line[:limit]}…"'


def built_in(project: Project, facts: Facts) -> list[Check]:
    """The checks that this project's options ask for, in the order in which reasons are given."""
    checks = [*_text_checks(project, facts), *_length_checks(project, facts), *_label_checks(project, facts)]
    return [*checks, *_repeat_checks(facts)]


def _text_checks(project: Project, facts: Facts) -> list[Check]:
    import great_expectations.expectations as gxe

    script = project.validation.script
    checks = [
        Check(
            "unreadable",
            gxe.ExpectColumnValuesToBeNull(column="fault", description="The row could be read from its source."),
            lambda row: shorten(facts.fault[row].as_py(), 200)[1:-1],
        ),
        Check(
            "missing text",
            gxe.ExpectColumnValuesToNotBeNull(column="characters", description="There is a text."),
            lambda _: "there is no text",
        ),
        Check(
            "empty text",
            gxe.ExpectColumnValuesToBeBetween(
                column="visible_characters",
                min_value=1,
                description="The text has characters that can be seen, once it is normalised.",
            ),
            lambda _: "nothing is left once white space and control characters are taken out",
        ),
    ]
    if script is not None:
        checks.append(
            Check(
                "wrong script",
                gxe.ExpectColumnValuesToBeBetween(
                    column="script_share",
                    min_value=LEAST_SHARE,
                    description=f"At least {LEAST_SHARE:.0%} of the text's letters are {script}.",
                ),
                lambda row: (
                    f"{facts.script_share[row]:.0%} of the letters are {script}, at least {LEAST_SHARE:.0%} expected"
                ),
            )
        )
    return checks


def _length_checks(project: Project, facts: Facts) -> list[Check]:
    import great_expectations.expectations as gxe

    limit, deviations = project.validation.max_characters, project.validation.outlier_deviations
    checks = [
        Check(
            "too long",
            gxe.ExpectColumnValuesToBeBetween(
                column="characters", max_value=limit, description=f"The text has at most {limit:,} characters."
            ),
            lambda row: f"{int(facts.characters[row]):,} characters, at most {limit:,} allowed",
        )
    ]
    if deviations is not None:
        usual = np.nanmedian(facts.characters) if np.isfinite(facts.characters).any() else 0
        checks.append(
            Check(
                "outlier length",
                gxe.ExpectColumnValuesToBeBetween(
                    column="length_deviation",
                    max_value=deviations,
                    description=f"The text's length is within {deviations:g} robust standard deviations of the median.",
                ),
                lambda row: (
                    f"{int(facts.characters[row]):,} characters is {facts.length_deviation[row]:.1f} robust standard "
                    f"deviations from the median of {usual:.0f}, at most {deviations:g} allowed"
                ),
            )
        )
    return checks


def _label_checks(project: Project, facts: Facts) -> list[Check]:
    import great_expectations.expectations as gxe

    def value(row: int) -> Any:
        return facts.labels.values[row].as_py()

    checks = [
        Check(
            "missing label",
            gxe.ExpectColumnValuesToNotBeNull(column="label", description="There is a label."),
            lambda _: "there is no label",
        )
    ]
    if project.data.label.cuts is not None:
        checks.append(
            Check(
                "wrong type",
                gxe.ExpectColumnValuesToBeNull(
                    column="label_not_a_number",
                    description="The label is a number, so that it can be cut into classes.",
                ),
                lambda row: (
                    f"label {shorten(value(row))} is not a number, and the label rule cuts numbers into classes"
                ),
            )
        )
    if project.data.label.classes is not None:
        classes = facts.labels.classes
        checks.append(
            Check(
                "unknown label",
                gxe.ExpectColumnValuesToBeInSet(
                    column="label",
                    value_set=[normalise(name) for name in classes],
                    description="The label is one of the classes that the project file names.",
                ),
                lambda row: unknown(value(row), classes),
            )
        )
    return checks


def unknown(label: str, classes: tuple[str, ...]) -> str:
    """What is said of a label that the rule does not know."""
    listed = ", ".join(classes[:8]) + (f" … ({len(classes)} classes)" if len(classes) > 8 else "")
    near = nearest(label[:100], classes)
    return f"{shorten(label)} is none of {listed}" + (f"; the nearest is {near}" if near else "")


def _repeat_checks(facts: Facts) -> list[Check]:
    import great_expectations.expectations as gxe

    return [
        Check(
            "contradicting labels",
            gxe.ExpectColumnValuesToBeBetween(
                column="targets_of_text", max_value=1, description="All rows with the same text have the same class."
            ),
            lambda row: (
                f"the same text is labelled in {int(facts.targets[row])} ways, "
                f"here as {facts.labels.classes[facts.labels.codes[row]]}"
            ),
        ),
        Check(
            "duplicate",
            gxe.ExpectColumnValuesToBeInSet(
                column="copy",
                value_set=[0],
                severity="info",
                description="No earlier row has the same text and class. Copies are no fault: preparation drops them.",
            ),
            lambda _: "an earlier row has the same text and class",
            quarantines=False,
        ),
    ]
