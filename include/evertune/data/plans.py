"""What each data step depends on, as a small JSON file: same file, same inputs, same output.

DVC hashes the plan of a step as it hashes data. So a plan holds what changes the step's bytes and nothing else: no path
of this machine, no time, no setting of another step. A new learning rate leaves all data as it is; a new limit on bad
rows validates again but draws nothing; a new salt only prepares again.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePath
from types import MappingProxyType
from typing import Any

from evertune import files
from evertune.project import Project
from evertune.project.options import Source
from evertune.records import Pins, Step
from evertune.settings import Settings

RECIPES: Mapping[str, int] = MappingProxyType({"snapshot": 2, "validate": 2, "prepare": 1, "tune": 1, "judge": 3})
"""Version of each step's recipe. Raise it by one, by hand, when the step's code changes what it makes of the same
inputs: runs then do the step again instead of taking it for unchanged."""

DATA_STEPS = (Step.SNAPSHOT, Step.VALIDATE, Step.PREPARE)


def plan(step: Step, project: Project, pins: Pins, settings: Settings) -> dict[str, Any]:
    """The plan of a data step: a JSON value."""
    data = project.data.model_dump(mode="json")
    parts: dict[Step, dict[str, Any]] = {
        Step.SNAPSHOT: {
            "sources": [_source(source, pins) for source in project.data.sources],
            "columns": data["columns"],
            "redaction": data["redaction"],
            "subjects": _subjects(project, settings),
        },
        Step.VALIDATE: {
            "columns": data["columns"],
            "label": data["label"],
            "validation": project.validation.model_dump(mode="json"),
        },
        Step.PREPARE: {
            "label": data["label"],
            "preparation": project.preparation.model_dump(mode="json"),
            "base": pins.base,
        },
    }
    if pins.label_watermark is not None:  # without labels, plans are what they were before there were any
        _add_traffic(parts, project, pins, settings)
    return {"step": step.value, "recipe": pins.recipes.get(step.value, RECIPES[step.value]), **parts[step]}


def _add_traffic(parts: dict[Step, dict[str, Any]], project: Project, pins: Pins, settings: Settings) -> None:
    retraining = project.retraining.model_dump(mode="json", include={"traffic_share", "judged_share"})
    groups = files.hash_of({"project": project.slug, "salt": settings.subject_salt})
    parts[Step.SNAPSHOT]["traffic"] = {"labels": pins.label_watermark, "groups": groups}
    parts[Step.PREPARE]["traffic"] = retraining


_CHANGES_NO_MODEL = {"description", "owner", "schedule", "serving", "monitoring", "notifications"}


def plan_hash(project: Project, pins: Pins) -> str:
    """Hash of all that a run's outcome hangs on: same hash, same champion, then it is the same run.

    Whose project it is, its description, its schedule, how it is served and watched and who is told change nothing, nor
    does the place of a local file whose bytes are pinned.
    """
    resolved = project.model_dump(mode="json", exclude=_CHANGES_NO_MODEL)
    resolved["data"]["sources"] = [_source(source, pins) for source in project.data.sources]
    resolved["base"] = pins.base
    recipes = dict(pins.recipes)
    return files.hash_of({"project": resolved, "recipes": recipes, "label_watermark": pins.label_watermark})


def same_model(one: Project, other: Project) -> bool:
    """Whether both files ask for the same model of the same world: what they say differently changes none."""
    first, second = (each.model_dump(mode="json", exclude=_CHANGES_NO_MODEL) for each in (one, other))
    return first == second


def _subjects(project: Project, settings: Settings) -> str | None:
    """A hash that changes with the secret that subjects are hashed with; none where the project has no subjects."""
    if project.data.columns.subject is None:
        return None
    return files.hash_of({"project": project.slug, "salt": settings.subject_salt})


def _source(source: Source, pins: Pins) -> dict[str, Any]:
    """How the source is read and the hash of its bytes; of a local path only the ending, which may tell its format."""
    options = source.model_dump(mode="json", exclude={"uri", "sha256"})
    ending = "".join(PurePath(source.uri).suffixes[-2:]).lower()
    place = {"uri": source.uri} if "://" in source.uri else {"ending": ending}
    return {**options, **place, "fingerprint": pins.sources[source.uri]}
