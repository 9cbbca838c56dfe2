"""The tuning job: train, evaluate, register, in a process of its own.

One process for the three, because importing torch and transformers costs more than evaluating. Called as
``python -m evertune.loop.tuning_job FOLDER`` by :func:`evertune.jobs.attach`; imports nothing heavy before it holds
the job's lock, so that a rival leaves at once.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import structlog

from evertune import files, jobs
from evertune.loop.code_version import code_version
from evertune.loop.release import check_signature
from evertune.loop.run import describe
from evertune.project import Project
from evertune.records import Candidate, Dataset, Evaluation, JsonObject, Pins, Recent, Release, Scores
from evertune.settings import Settings, load

log = structlog.get_logger(__name__)
METRICS = ("accuracy", "precision", "recall", "f1", "calibration_error", "log_loss")


@dataclass(frozen=True)
class Order:
    """What the job is to do, as ``job.json`` says."""

    folder: Path
    run_key: str
    mlflow_run: str
    project: Project
    dataset: Dataset
    pins: Pins
    champion: Release | None
    settings: Settings

    @classmethod
    def read(cls, folder: Path) -> Order:
        """The order that :func:`evertune.loop.steps.tune` left in the folder."""
        payload = files.read_json(folder / "job.json")
        return cls(
            folder=folder,
            run_key=payload["run_key"],
            mlflow_run=payload["mlflow_run"],
            project=Project.model_validate(payload["project"]),
            dataset=Dataset.model_validate(payload["dataset"]),
            pins=Pins.model_validate(payload["pins"]),
            champion=Release.model_validate(payload["champion"]) if payload["champion"] else None,
            settings=load(),
        )

    @property
    def rows(self) -> Path:
        """The prepared dataset's folder."""
        return Path(self.dataset.path)

    @property
    def bundle(self) -> Path:
        """Where the tuned model goes."""
        return self.folder / "bundle"


def main(folder: Path) -> JsonObject:
    """Do the job that ``folder`` describes; every part that was finished before a kill is found and kept."""
    order = Order.read(folder)
    base = _base(order)
    tuned = _tune(order, base)
    evaluation = _evaluate(order, base)
    candidate = _register(order, evaluation, tuned)
    shutil.rmtree(folder / "checkpoints", ignore_errors=True)  # until here the next run could have gone on from them
    return {
        "candidate": candidate.model_dump(mode="json"),
        "evaluation": evaluation.model_dump(mode="json"),
        "learning_curve": str(folder / "learning_curve.png"),
        "preflight": tuned.get("preflight"),
    }


def _base(order: Order) -> Path:
    from evertune.models import bases

    folder = bases.fetch(order.project.base, order.settings)
    if bases.fingerprint(order.project.base, order.settings) != order.pins.base:
        uri = order.project.base.uri
        raise files.CorruptError(f"The base model {uri} has changed since the run was claimed. Start a new run.")
    return folder


def _tune(order: Order, base: Path) -> JsonObject:
    from evertune.evaluation import pictures
    from evertune.releases import mlflow
    from evertune.tuning import trainer

    told = order.folder / "tuned.json"
    if told.exists():
        files.verify(order.bundle)
        done: JsonObject = files.read_json(told)
        return done
    memory = _preflight(order, base)
    with mlflow.Live(order.settings, order.mlflow_run) as live:

        def report(progress: trainer.Progress) -> None:
            jobs.report(order.folder, progress.model_dump(mode="json"))
            live(progress.step, progress.metrics())

        def cancelled() -> bool:
            return jobs.cancelled(order.folder)

        result = trainer.train(order.project, order.rows, base, order.folder, order.bundle, report, cancelled)
    pictures.learning_curve(result.curve, order.folder / "learning_curve.png")
    value: JsonObject = {**result.model_dump(mode="json"), "preflight": memory}
    files.write_json(told, value)
    return value


def _preflight(order: Order, base: Path) -> JsonObject:
    """Refuse what does not fit into memory, and tell wherever people look what was found where it does."""
    from evertune.releases import mlflow
    from evertune.tuning import trainer

    found: JsonObject = trainer.preflight(order.project, order.rows, base).model_dump(mode="json")
    told = {"phase": "preflight", **found}
    jobs.report(order.folder, told)
    log.info(describe(told), **found)
    params = {f"preflight.{name}": value for name, value in found.items()}
    mlflow.start_run(order.settings, order.project, order.run_key, params)
    return found


def _evaluate(order: Order, base: Path) -> Evaluation:
    from evertune.evaluation import evaluate

    told = order.folder / "evaluated.json"
    out = order.folder / "evaluation"
    if told.exists():
        files.verify(out)
        return Evaluation.model_validate(files.read_json(told))
    jobs.report(order.folder, {"phase": "evaluate"})
    generation = order.champion.generation if order.champion else 0
    champion = _champion_bundle(order)
    evaluation = evaluate.evaluate(
        order.project, order.run_key, order.rows, order.bundle, champion, generation, base, out
    )  # fmt: skip
    files.write_json(told, evaluation.model_dump(mode="json"))
    return evaluation


def _champion_bundle(order: Order) -> Path | None:
    from evertune.releases import mlflow

    champion, settings = order.champion, order.settings
    if champion is None:
        return None
    check_signature(order.project.slug, champion.model_version, champion.digest, settings)
    to = settings.home / "bundles" / champion.digest
    return mlflow.fetch(settings, order.project.slug, champion.model_version, champion.digest, to)


def _register(order: Order, evaluation: Evaluation, tuned: JsonObject) -> Candidate:
    from evertune.data import versions
    from evertune.evaluation import checks
    from evertune.models import signing
    from evertune.releases import mlflow

    jobs.report(order.folder, {"phase": "register"})
    settings, run = order.settings, order.mlflow_run
    mlflow.log_folder(settings, run, order.folder / "evaluation", "evaluation")
    versions.write(settings, order.dataset.lock, order.project, order.pins, order.folder / "data_version")
    mlflow.log_folder(settings, run, order.folder / "data_version", "data_version")
    mlflow.log_metrics(settings, run, _flat(evaluation), step=0)
    tags = {
        "method": str(order.project.tuning.method),
        "data_version": order.dataset.version,
        "code_version": code_version(),
        "digest": tuned["digest"],
        "signature": signing.sign(tuned["digest"], settings),
    }
    if order.pins.label_watermark is not None:
        tags["label_watermark"] = order.pins.label_watermark
    card = mlflow.model_card(order.project, evaluation, tags)
    rows = checks.write(order.rows, order.folder / "checks.parquet")
    version = mlflow.register(
        settings, order.project, order.run_key, run, order.bundle, card, evaluation, tags,
        examples=_examples(order), checks=rows,
    )  # fmt: skip
    mlflow.end_run(settings, run)
    return Candidate(
        run_key=order.run_key,
        digest=tuned["digest"],
        mlflow_run=run,
        model_version=version,
        method=str(order.project.tuning.method),
        seconds=tuned["seconds"],
    )


def _examples(order: Order) -> list[str]:
    """Two texts of the test rows, redacted as all are, for the registry's input example."""
    import pyarrow.parquet as pq

    texts: list[str] = pq.read_table(order.rows / "test.parquet", columns=["text"])["text"].to_pylist()
    return texts[:2]


def _flat(evaluation: Evaluation) -> dict[str, float]:
    sides: dict[str, Scores | None] = {
        "test": evaluation.challenger,
        "champion": evaluation.champion,
        **evaluation.baselines,
        **_recent(evaluation.recent),
    }
    return {f"{side}.{name}": getattr(scores, name) for side, scores in sides.items() if scores for name in METRICS}


def _recent(found: Recent | None) -> dict[str, Scores | None]:
    return {} if found is None else {"recent": found.challenger, "recent.champion": found.champion}


if __name__ == "__main__":
    jobs.worker(main)
