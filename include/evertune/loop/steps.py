"""The steps of a run. Each takes the run's key and its owner, does its part once, and returns what it recorded.

A step that was recorded is not done again: its result is read from the ledger. A step that was cut off starts over
and finds what it had finished by content (DVC's cache, the job's checkpoints, the registry's tag).
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import structlog

from evertune import files, jobs
from evertune.data import versions
from evertune.ledger import engine as ledger_engine
from evertune.ledger import releases as ledger_releases
from evertune.ledger import runs
from evertune.ledger import steps as ledger_steps
from evertune.loop import unfinished
from evertune.loop.held import Held, hold, once
from evertune.loop.outcome import outcome
from evertune.loop.release import mend_alias, told_if_mlflow_is_away
from evertune.records import (
    Candidate,
    Dataset,
    Decision,
    Evaluation,
    EvertuneError,
    JsonObject,
    Outcome,
    RunStatus,
    Step,
    UnfitError,
    Verdict,
)
from evertune.settings import Settings

log = structlog.get_logger(__name__)
Report = Callable[[JsonObject], None]
TUNING_JOB = "evertune.loop.tuning_job"
DOCS_ADDRESS = "data_docs.url"


def snapshot(run_key: str, owner: str, settings: Settings) -> JsonObject:
    """Draw the rows, redacted, into the run's workspace: ``{"drawn": …, "redacted": …, "sources": …}``."""
    return _data_step(hold(run_key, owner, settings), Step.SNAPSHOT, "snapshot")


def validate(run_key: str, owner: str, settings: Settings) -> JsonObject:
    """Part good rows from bad ones: counts and reasons, and where the Data Docs are.

    Raises :class:`UnfitError` where the data must not be trained on; Data Docs and quarantine are there even then.
    """
    held = hold(run_key, owner, settings)

    def work() -> JsonObject:
        try:
            versions.repro(held.workspace, Step.VALIDATE)
        except UnfitError as fault:
            failed = held.workspace.folder / "failed" / held.project.slug / "valid" / "data_docs"
            if failed.is_dir():
                raise UnfitError(f"{fault}\nData Docs: {_docs_of_unfit(held, failed)}") from fault
            raise
        docs = held.workspace.folder / "data" / held.project.slug / "valid" / "data_docs"
        return {**_summary(held, "valid"), "data_docs": _publish_docs(held, docs)}

    return once(held, Step.VALIDATE, work)


def _publish_docs(held: Held, folder: Path) -> str:
    """Put the Data Docs beside the run in MLflow, where people without this disk find them; return their address."""
    from evertune.releases import mlflow

    told = held.workspace.folder / DOCS_ADDRESS
    files.write_text(told, str(folder / "summary.html"))
    tracked = _tracking_run(held)
    mlflow.log_folder(held.settings, tracked, folder, "data_docs")
    address = mlflow.artifact_link(held.settings, tracked, "data_docs/summary.html")
    files.write_text(told, address)
    return address


def _docs_of_unfit(held: Held, folder: Path) -> str:
    """Their address; on this disk where MLflow is away, which must not hide that the data are unfit."""
    try:
        return _publish_docs(held, folder)
    except EvertuneError as away:
        log.warning("the Data Docs stay on this machine", run=held.run.key, fault=str(away))
        return data_docs(held.run.key, held.settings)


def data_docs(run_key: str, settings: Settings) -> str:
    """Address of the run's Data Docs, also where its data were unfit; empty where it has not validated yet."""
    told = settings.runs / run_key / DOCS_ADDRESS
    return told.read_text("utf-8") if told.exists() else ""


def prepare(run_key: str, owner: str, settings: Settings) -> JsonObject:
    """Normalise, deduplicate, split and tokenise; push the bytes to DVC's remote. Returns the :class:`Dataset`.

    What the split could not give a class (test rows, say) is told as a warning.
    """
    held = hold(run_key, owner, settings)

    def work() -> JsonObject:
        versions.repro(held.workspace, Step.PREPARE)
        versions.push(held.workspace)
        for warning in _summary(held, "dataset")["warnings"]:
            log.warning(warning, run=run_key)
        return versions.dataset(held.workspace).model_dump(mode="json")

    return once(held, Step.PREPARE, work)


def _data_step(held: Held, step: Step, folder: str) -> JsonObject:
    def work() -> JsonObject:
        versions.repro(held.workspace, step)
        return _summary(held, folder)

    return once(held, step, work)


def _summary(held: Held, folder: str) -> JsonObject:
    path = held.workspace.folder / "data" / held.project.slug / folder / "summary.json"
    summary: JsonObject = files.read_json(path)
    return summary


def _tracking_run(held: Held) -> str:
    from evertune.releases import mlflow

    return mlflow.start_run(held.settings, held.project, held.run.key, {"run_key": held.run.key})


def tune(run_key: str, owner: str, settings: Settings, report: Report | None = None) -> JsonObject:
    """Fine-tune, evaluate and register, as a job of its own process; ``report`` hears how far it is.

    Returns ``{"candidate": Candidate, "evaluation": Evaluation, "learning_curve": path, "preflight": …}``.
    """
    held = hold(run_key, owner, settings)

    def work() -> JsonObject:
        payload = _tuning_payload(held)
        unfinished.take_up(held)
        return jobs.attach(settings, run_key, TUNING_JOB, payload, report or (lambda _: None))

    return once(held, Step.TUNE, work)


def _tuning_payload(held: Held) -> JsonObject:
    dataset = Dataset.model_validate(ledger_steps.result(held.engine, held.run.key, Step.PREPARE))
    releases = {release.generation: release for release in ledger_releases.history(held.engine, held.project.slug)}
    champion = releases.get(held.run.champion)
    claimed = ledger_steps.result(held.engine, held.run.key, Step.CLAIM) or {}
    return {
        "run_key": held.run.key,
        "project": held.project.model_dump(mode="json"),
        "pins": claimed["pins"],
        "dataset": dataset.model_dump(mode="json"),
        "champion": champion.model_dump(mode="json") if champion else None,
        "mlflow_run": _tracking_run(held),
        "gpu": True,
    }


def judge(run_key: str, owner: str, settings: Settings) -> JsonObject:
    """Let the gate decide: returns the :class:`Verdict`, which is also written to the model version's tags."""
    from evertune.evaluation import gate, paired
    from evertune.releases import mlflow

    held = hold(run_key, owner, settings)

    def work() -> JsonObject:
        candidate, evaluation = _tuned(held)
        looks = runs.looks(held.engine, held.project.slug, held.run.champion)
        pairs, project = paired.load(Path(evaluation.pairs)), held.project
        verdict = gate.judge(evaluation, pairs, project.gate, looks, project.retraining)
        mlflow.set_verdict(settings, held.project.slug, candidate.model_version, verdict)
        return verdict.model_dump(mode="json")

    return once(held, Step.JUDGE, work)


def _tuned(held: Held) -> tuple[Candidate, Evaluation]:
    tuned = ledger_steps.result(held.engine, held.run.key, Step.TUNE) or {}
    return Candidate.model_validate(tuned["candidate"]), Evaluation.model_validate(tuned["evaluation"])


def promote(run_key: str, owner: str, settings: Settings) -> Outcome:
    """Make the challenger the champion if the gate said so, mend MLflow's alias, and finish the run.

    Where the project wants a person's yes, the run ends as ``awaiting approval`` and nothing is promoted yet.
    """
    from evertune.releases import promote as promotion

    ended = runs.get(ledger_engine.ready(settings.database_url), run_key)
    if ended is not None and ended.outcome is not None:
        return ended.outcome  # killed after the last commit: nothing is left to do
    held = hold(run_key, owner, settings)
    verdict = Verdict.model_validate(ledger_steps.result(held.engine, run_key, Step.JUDGE))
    asks = held.project.gate.approval == "person" and verdict.decision is Decision.PROMOTE

    def work() -> JsonObject:
        if verdict.decision is not Decision.PROMOTE or asks:
            return {"released": None}
        candidate, _ = _tuned(held)
        try:
            release = promotion.promote(
                held.engine, held.run, held.project.slug, candidate.model_version, candidate.digest, run_key,
                expected=held.run.champion, by="gate",
            )  # fmt: skip
        except promotion.RolledBackError as fault:
            return {"released": None, "refused": str(fault)}  # a verdict, or each night would train it again
        return {"released": release.generation}

    once(held, Step.PROMOTE, work)
    mend_alias(settings, held.project.slug, held.engine)
    told = outcome(held.engine, run_key, held.project).model_copy(update={"awaiting_approval": asks})
    if told.verdict is not None and told.verdict.decision is not verdict.decision:  # refused: `judge` had said promote
        _tell_registry(held, told.verdict)
    runs.finish(held.engine, held.run, told, RunStatus.AWAITING_APPROVAL if asks else RunStatus.FINISHED)
    jobs.discard(settings, run_key, "bundle")  # the registry has it, and each night would leave one more
    return told


def _tell_registry(held: Held, verdict: Verdict) -> None:
    from evertune.releases import mlflow

    with told_if_mlflow_is_away(held.project.slug, "the model version does not say that it was refused"):
        mlflow.set_verdict(held.settings, held.project.slug, _tuned(held)[0].model_version, verdict)


def fail(run_key: str, owner: str, settings: Settings, message: str) -> None:
    """End the run as failed, with its reason: the triggers that it absorbed wait for the next run."""
    engine = ledger_engine.ready(settings.database_url)
    runs.fail(engine, runs.held(engine, run_key, owner), message)


STEPS: dict[Step, Callable[[str, str, Settings], object]] = {
    Step.SNAPSHOT: snapshot,
    Step.VALIDATE: validate,
    Step.PREPARE: prepare,
    Step.TUNE: tune,
    Step.JUDGE: judge,
    Step.PROMOTE: promote,
}
