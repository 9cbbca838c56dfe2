"""Where a release comes from: release → run → evaluation → dataset version → source, as the ledger knows it."""

from __future__ import annotations

from sqlalchemy import Engine

from evertune.ledger import releases, steps
from evertune.records import JsonObject, Release, Step


def lineage(engine: Engine, slug: str, generation: int) -> JsonObject:
    """What the ledger tells of a generation; empty where it knows none of that number."""
    found = next((one for one in releases.history(engine, slug) if one.generation == generation), None)
    return of_release(engine, found) if found else {}


def of_release(engine: Engine, release: Release) -> JsonObject:
    """The run that made the release's model, what was measured of it, and what it was trained on.

    A release whose run was made elsewhere has only its run key.
    """
    done = {one.step: one.result for one in steps.all(engine, release.run_key)}
    tuned, dataset = done.get(Step.TUNE, {}), done.get(Step.PREPARE, {})
    measured: JsonObject | None = tuned.get("evaluation")
    pins = done.get(Step.CLAIM, {}).get("pins", {})
    return {
        "run_key": release.run_key,
        # Without the path of a file: a key that may read is none to this machine.
        "evaluation": measured and {name: value for name, value in measured.items() if name != "pairs"},
        "dataset_version": dataset.get("version"),
        "sources": pins.get("sources", {}),
        "label_watermark": pins.get("label_watermark"),
        "labels": dataset.get("labels"),
    }
