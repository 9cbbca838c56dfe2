"""Between Airflow's tasks and the library: whose run it is, what is skipped, what the log shows.

Everything that does work is in `evertune.loop`; a task body is one call of :func:`claim`, :func:`perform`,
:func:`release`, :func:`score`, or of one of the monitor's steps.
"""

from __future__ import annotations

import logging
from typing import Any

from airflow.sdk import get_current_context
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from evertune import settings
from evertune.records import Cause, EvertuneError, Outcome, StaleError, Step, UnfitError
from evertune_dags.retries import translated

log = logging.getLogger("evertune")

AS_IN_FILE = "as in the project file"


def claim(slug: str) -> str:
    """Claim a run for this DAG run and return its key; skip what follows where there is nothing to train."""
    from evertune import loop
    from evertune.project.load import find, load
    from evertune.project.options import Method

    context = get_current_context()
    where, params, cause = settings.load(), context["params"], _cause(context)
    with translated():
        project = load(find(slug, where))
        if params["method"] != AS_IN_FILE:
            project = project.with_method(Method(params["method"]))
        run = loop.claim(
            project, where, owner=_owner(), cause=cause, key=_owner(), reason=params["reason"], force=params["force"]
        )
    if run is None:
        if cause is Cause.ALERT:
            raise AirflowSkipException(
                "Woken by a drift alert, but no request waits, or another run is at work. Nothing is lost."
            )
        raise AirflowSkipException(
            "Another run of this project is at work, and the one after it answers this request, by the project file "
            "(the form's method and force are not kept); or it was answered before, where this DAG run was cleared. "
            "`evertune status` tells which; start a new DAG run to ask again."
        )
    if run.status != "active":
        log.info("Nothing has changed since the last verdict: nothing is trained. `force` trains nevertheless.")
        context["ti"].xcom_push(key="run_key", value=run.key)
        raise AirflowSkipException(f"Run {run.key} is unchanged: same data, settings, base model and champion.")
    return run.key


def _cause(context: Any) -> Cause:
    """Who wants this DAG run. An asset event that a person made (in the interface or by REST) is a person's wish.

    The monitor's own only wakes: what it is about is in the ledger, and must not be asked for twice.
    """
    kind = str(context["dag_run"].run_type)
    if kind != "asset_triggered":
        return Cause.CLOCK if kind == "scheduled" else Cause.PERSON
    events = [event for some in context["triggering_asset_events"].values() for event in some]
    by_hand = any((event.extra or {}).get("from_rest_api") for event in events)
    return Cause.PERSON if by_hand else Cause.ALERT


def perform(step: str, run_key: str) -> None:
    """Do one step of the run; what it records goes into the ledger, not into XCom."""
    from evertune import loop

    context = get_current_context()
    ti, where = context["ti"], settings.load()
    try:
        with translated():
            if step == Step.TUNE:
                result: Any = loop.tune(run_key, _owner(), where, _Progress())
            else:
                result = loop.STEPS[Step(step)](run_key, _owner(), where)
    except Exception as fault:
        if isinstance(fault, AirflowFailException) or ti.try_number > ti.max_tries:
            _fail(run_key, fault)
        raise
    finally:
        if step == Step.VALIDATE and (link := loop.data_docs(run_key, where)):
            ti.xcom_push(key="data_docs", value=link)
    log.info("%s: %s", step, result)
    if step == Step.PROMOTE:
        _skip_without_release(result, run_key)


def _skip_without_release(outcome: Outcome, run_key: str) -> None:
    """A task that succeeds emits its asset, and where no release is new nobody must be told of a champion."""
    if outcome.release is None or outcome.release.run_key != run_key:
        raise AirflowSkipException(f"No new release of {run_key}: what answered before goes on. `judge` tells why.")


def release(slug: str) -> None:
    """Do what a person asked for in the form of `release__<project>`."""
    from evertune import loop

    context, where = get_current_context(), settings.load()
    params = context["params"]
    by = str(getattr(context["dag_run"], "triggering_user_name", None) or "airflow")
    reason = params["reason"]
    with translated():
        if params["action"] == "refuse":
            refused = loop.refuse(slug, where, by=by, reason=reason)
            raise AirflowSkipException(f"The model of {refused} is refused; what answered before goes on.")
        told = {"by": by, "reason": reason, "expected": params["expected_generation"]}
        if told["expected"] is None:  # by a moment that no second try and no clearing changes, so that none acts again
            told["expected"] = loop.answered_at(slug, where, context["dag_run"].run_after)
        if params["action"] == "promote":
            done = loop.promote_by_hand(slug, where, model_version=params["model_version"], **told)
        else:
            done = loop.rollback(slug, where, to=params["generation"], **told)
    log.info("%s: generation %s answers with model version %s", slug, done.generation, done.model_version)


def score(slug: str) -> None:
    """Score the file that the form of `score__<project>` names."""
    from evertune.loop.score import score as score_file
    from evertune.project.load import find, load

    params, where = get_current_context()["params"], settings.load()
    with translated():
        if not params["source"] or not params["sink"]:
            raise UnfitError("Say in the form which file to score (source) and which Parquet file to write (sink).")
        done = score_file(
            load(find(slug, where)), params["source"], params["sink"], where, column=params["column"],
            report=lambda rows, of: log.info("%s of %s rows", f"{rows:,}", f"{of:,}"),
        )  # fmt: skip
    log.info("%s rows scored by generation %s into %s", done.rows, done.release.generation, done.sink)


def cut_windows(slug: str) -> None:
    """Cut every window of the project's traffic that is due."""
    from evertune.loop import monitor
    from evertune.project.load import find, load

    where = settings.load()
    with translated():
        for one in monitor.window(load(find(slug, where)), where):
            log.info("window %s: %s answers of release %s, until %s", one.number, one.rows, one.generation, one.until)


def check_windows(slug: str) -> None:
    """Test every window that has not been, and link the newest report there is."""
    from evertune.loop import monitor, window_reports
    from evertune.project.load import find, load

    where = settings.load()
    with translated():
        try:
            tested = monitor.report(load(find(slug, where)), where)
        finally:  # also where one could not be tested: the next try does not test those before it again
            if report := window_reports.newest(where, slug):
                get_current_context()["ti"].xcom_push(key="report", value=report)
    for one in tested:
        log.info("window %s: evidence %.3g, raised by %s", one.window, one.evidence, list(one.raised) or "nothing")
        if one.faded:
            log.info("  the open alert was left by %s", list(one.faded))
        for found in one.findings:
            log.info("  %s: effect %.3f of %.3f, p %.3g", found.signal, found.effect, found.smallest, found.p)
        if one.lacks:
            log.warning("%s", one.lacks)


def decide(slug: str) -> None:
    """Let the policy rule on the open alert."""
    from evertune.loop import monitor
    from evertune.project.load import find, load

    where = settings.load()
    with translated():
        alert = monitor.decide(load(find(slug, where)), where)
    if alert is None:
        log.info("No alert is open.")
        return
    log.info("Alert %s (%s) is %s. %s", alert.key, ", ".join(alert.signals), alert.status, alert.ruling)
    for sentence in alert.explanation.sentences if alert.explanation else ():
        log.info("%s", sentence)


def wake(slug: str) -> None:
    """Emit the drift alert, where a retrain is asked for that nobody works on; else be skipped, which emits nothing."""
    from evertune.loop import monitor
    from evertune.project.load import find, load

    where = settings.load()
    with translated():
        wakes = monitor.wakes(load(find(slug, where)), where)
    if not wakes:
        raise AirflowSkipException("No retrain for drift waits for somebody to begin it, or may be begun now.")


def tell(message: str) -> None:
    """In place of the claim, where the project file is unfit: fail with what is wrong with it."""
    raise AirflowFailException(message)


def _owner() -> str:
    """The same on every try of every task of this DAG run."""
    context = get_current_context()
    return f"airflow:{context['dag_run'].dag_id}:{context['dag_run'].run_id}"


def _fail(run_key: str, fault: Exception) -> None:
    from evertune import loop

    try:
        loop.fail(run_key, _owner(), settings.load(), str(fault))
    except StaleError as stale:
        log.warning("the run is not failed by this task: %s", stale)
    except EvertuneError as other:
        log.warning("the run could not be ended as failed; its lease will run out: %s", other)


class _Progress:
    """Tells the task's log about the training every few seconds, with the time left."""

    every_s = 5.0

    def __init__(self) -> None:
        self.last = 0.0
        self.phase = ""

    def __call__(self, detail: dict[str, Any]) -> None:
        import time

        phase = str(detail.get("phase", ""))
        if phase == self.phase and time.monotonic() - self.last < self.every_s:
            return
        self.last, self.phase = time.monotonic(), phase
        from evertune.loop.run import describe

        log.info("%s", describe(detail))
