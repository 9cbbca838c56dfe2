"""The data of a model version, found again."""

from __future__ import annotations

from pathlib import Path

from evertune import files
from evertune.data import versions
from evertune.ledger import engine as ledger_engine
from evertune.ledger import steps
from evertune.project import Project
from evertune.records import Dataset, EvertuneError, Pins, Step
from evertune.settings import Settings


def checkout(slug: str, settings: Settings, model_version: int, to: Path) -> Path:
    """Restore into ``to`` the bytes that a model version was trained and judged on.

    By what the ledger keeps of its run alone: the project's file may have changed since, or be gone.
    """
    from evertune.releases import mlflow

    run_key = mlflow.describe(settings, slug, model_version).run_key
    engine = ledger_engine.ready(settings.database_url)
    prepared, claimed = (steps.result(engine, run_key, step) for step in (Step.PREPARE, Step.CLAIM))
    if prepared is None or claimed is None or "project" not in claimed:
        raise EvertuneError(
            f"The ledger has no data of run {run_key}, which made version {model_version} of {slug}. "
            "Is EVERTUNE_DATABASE_URL that of the installation which trained it?"
        )
    dataset, project = Dataset.model_validate(prepared), Project.model_validate(claimed["project"])
    alone = settings.home / "locks" / f"checkout-{files.hash_of(str(to.absolute()))[:16]}"
    with files.lock(alone):  # two at once would take each other's half-made folder for a leftover
        return versions.checkout(settings, dataset.lock, project, Pins.model_validate(claimed["pins"]), to)
