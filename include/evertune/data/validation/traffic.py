"""Labelled traffic, judged row by row: a label that cannot be right goes to quarantine, with the reason.

It is judged apart from the sources' rows and by less. Its label is the name of a class already, so no cut is made, and
a class that the sources do not have is unknown: a slip of a pen must not become a class. An unusual length is no fault,
since the release answers such texts. Expectations are asked where traffic has what they are about: on each value of the
text, the class or (without cuts) the label. Nothing here stops a run, or whoever sends labels could.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from evertune.data.validation import facts
from evertune.data.validation.engine import Engine
from evertune.data.validation.expectations import Named
from evertune.data.validation.findings import Findings
from evertune.data.validation.frames import TARGET
from evertune.data.validation.judging import judge
from evertune.project.options import Project


def judge_traffic(
    project: Project, rows: Path, named: Sequence[Named], of_sources: Findings, scratch: Path
) -> tuple[Findings, Engine]:
    """Judge the rows of labelled traffic; ``of_sources`` tells the classes that there are.

    ``scratch`` is as :func:`judge` takes it.
    """
    classes = of_sources.classes
    if project.data.label.classes is None and project.data.label.cuts is None:
        classes = tuple(name for name, count in of_sources.class_counts.items() if count)
    rule = project.data.label.model_copy(update={"classes": classes, "cuts": None})
    alike = project.model_copy(
        update={
            "data": project.data.model_copy(update={"label": rule}),
            "validation": project.validation.model_copy(update={"outlier_deviations": None}),
        }
    )
    there = {"row_id", "text", TARGET} | ({"label"} if project.data.label.cuts is None else set())
    asked = [one for one in named if one.per_value and set(one.columns) <= there and one.condition is None]
    engine = Engine()
    return judge(alike, rows, facts.gather(alike, rows), asked, engine, scratch), engine
