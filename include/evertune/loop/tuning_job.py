"""The tuning job: train, evaluate, register, in a process of its own.

One process for the three, because importing torch and transformers costs more than evaluating. Called as
``python -m evertune.loop.tuning_job FOLDER`` by :func:`evertune.jobs.attach`; imports nothing heavy before it holds
the job's lock, so that a rival leaves at once.
"""

from __future__ import annotations

import shutil
import time
from pathlib import Path

from evertune import files, jobs
from evertune.project import Project
from evertune.records import Candidate, Dataset, Evaluation, JsonObject, Pins, Release
from evertune.settings import Settings, load

DONE = "evaluated.json"


def main(folder: Path) -> JsonObject:
    """Do the job that ``folder`` describes; every part that was finished before a kill is found and kept."""
    settings = load()
    payload = files.read_json(folder / "job.json")
    project = Project.model_validate(payload["project"])
    dataset = Dataset.model_validate(payload["dataset"])
    base = _base(project, Pins.model_validate(payload["pins"]), settings)
    tuned = _tune(folder, payload["mlflow_run"], project, dataset, base, settings)
    evaluation = _evaluate(folder, payload, project, dataset, base, settings)
    return _register(folder, payload, project, dataset, evaluation, tuned, settings)


def _base(project: Project, pins: Pins, settings: Settings) -> Path:
    from evertune.models import bases

    folder = bases.fetch(project.base, settings)
    found = bases.fingerprint(project.base, settings)
    if found != pins.base:
        raise files.CorruptError(f"The base model {project.base.uri} has changed since the run was claimed. Run again.")
    return folder


def _tune(folder: Path, mlflow_run: str, project: Project, dataset: Dataset, base: Path, settings: Settings) -> JsonObject:
    from evertune.evaluation import pictures
    from evertune.releases import mlflow
    from evertune.tuning import trainer

    told = folder / "tuned.json"
    if told.exists():
        files.verify(folder / "bundle")
        done: JsonObject = files.read_json(told)
        return done
    trainer.preflight(project, Path(dataset.path), base)
    with mlflow.Live(settings, mlflow_run) as live:

        def report(progress: trainer.Progress) -> None:
            jobs.report(folder, progress.model_dump(mode="json"))
            live(progress.step, progress.metrics())

        result = trainer.train(
            project, Path(dataset.path), base, folder, folder / "bundle", report, lambda: jobs.cancelled(folder)
        )
    pictures.learning_curve(result.curve, folder / "learning_curve.png")
    value: JsonObject = result.model_dump(mode="json")
    files.write_json(told, value)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)
    return value


def _evaluate(
    folder: Path, payload: JsonObject, project: Project, dataset: Dataset, base: Path, settings: Settings
) -> Evaluation:
    from evertune.evaluation import evaluate

    told = folder / DONE
    if told.exists():
        files.verify(folder / "evaluation")
        return Evaluation.model_validate(files.read_json(told))
    jobs.report(folder, {"phase": "evaluate"})
    champion = Release.model_validate(payload["champion"]) if payload["champion"] else None
    evaluation = evaluate.evaluate(
        project,
        payload["run_key"],
        Path(dataset.path),
        folder / "bundle",
        _champion_bundle(project, champion, settings),
        champion.generation if champion else 0,
        base,
        folder / "evaluation",
    )
    files.write_json(told, evaluation.model_dump(mode="json"))
    return evaluation


def _champion_bundle(project: Project, champion: Release | None, settings: Settings) -> Path | None:
    from evertune.releases import mlflow

    if champion is None:
        return None
    to = settings.home / "bundles" / champion.digest
    return mlflow.fetch(settings, project.slug, champion.model_version, champion.digest, to)


def _register(
    folder: Path,
    payload: JsonObject,
    project: Project,
    dataset: Dataset,
    evaluation: Evaluation,
    tuned: JsonObject,
    settings: Settings,
) -> JsonObject:
    from evertune import __version__
    from evertune.releases import mlflow

    jobs.report(folder, {"phase": "register"})
    started = time.monotonic()
    run_key, mlflow_run = payload["run_key"], payload["mlflow_run"]
    mlflow.log_folder(settings, mlflow_run, folder / "evaluation", "evaluation")
    mlflow.log_metrics(settings, mlflow_run, _flat(evaluation), step=0)
    tags = {
        "method": str(project.tuning.method),
        "data_version": dataset.version,
        "code_version": __version__,
        "digest": tuned["digest"],
    }
    card = mlflow.model_card(project, evaluation, tags)
    version = mlflow.register(settings, project, run_key, mlflow_run, folder / "bundle", card, evaluation, tags)
    candidate = Candidate(
        run_key=run_key,
        digest=tuned["digest"],
        path=str(folder / "bundle"),
        mlflow_run=mlflow_run,
        model_version=version,
        method=str(project.tuning.method),
        seconds=tuned["seconds"] + time.monotonic() - started,
    )
    return {
        "candidate": candidate.model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "learning_curve": str(folder / "learning_curve.png"),
    }


def _flat(evaluation: Evaluation) -> dict[str, float]:
    sides = {"test": evaluation.challenger, "champion": evaluation.champion, **evaluation.baselines}
    return {
        f"{side}.{metric}": getattr(scores, metric)
        for side, scores in sides.items()
        if scores is not None
        for metric in ("accuracy", "precision", "recall", "f1", "calibration_error", "log_loss")
    }


if __name__ == "__main__":
    jobs.worker(main)
