"""The data of a model version, found again."""

from __future__ import annotations

from pathlib import Path

from evertune.data import versions
from evertune.ledger import engine as ledger_engine
from evertune.ledger import steps
from evertune.project import Project
from evertune.records import Dataset, EvertuneError, Pins, Step
from evertune.settings import Settings


def checkout(project: Project, settings: Settings, model_version: int, to: Path) -> Path:
    """Restore into ``to`` the bytes that a model version was trained and judged on."""
    from evertune.releases import mlflow

    run_key = mlflow.describe(settings, project.slug, model_version).run_key
    engine = ledger_engine.ready(settings.database_url)
    prepared, claimed = (steps.result(engine, run_key, step) for step in (Step.PREPARE, Step.CLAIM))
    if prepared is None or claimed is None:
        raise EvertuneError(
            f"The ledger has no data of run {run_key}, which made version {model_version} of {project.slug}. "
            "Is EVERTUNE_DATABASE_URL that of the installation which trained it?"
        )
    dataset = Dataset.model_validate(prepared)
    return versions.checkout(settings, dataset.lock, project, Pins.model_validate(claimed["pins"]), to)
