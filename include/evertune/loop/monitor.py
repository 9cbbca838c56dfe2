"""The monitor: traffic is cut into windows, tested against what its release knows, and ruled on by the policy.

Three steps, which Airflow runs as tasks and :func:`watch` in one process. Each may be killed at any line and called
again: what it did is in the ledger, and what it was about to do is still to be done.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

import structlog
from sqlalchemy import Engine

from evertune.ledger import alerts, releases, runs, triggers, windows
from evertune.ledger import engine as ledger_engine
from evertune.ledger.alerts import AlertEntry, Standing
from evertune.loop import copies, labels, notify, traffic
from evertune.loop import reference as references
from evertune.loop import window_reports as reports
from evertune.loop.followed import served_here
from evertune.loop.labels import Usable
from evertune.monitoring import policy
from evertune.monitoring.budget import advance, crossed
from evertune.monitoring.detect import detect
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project import Project
from evertune.records import (
    Alert,
    EvertuneError,
    Evidence,
    Explanation,
    Finding,
    Record,
    Signal,
    Window,
)
from evertune.serving.log.news import Counted
from evertune.settings import Settings

log = structlog.get_logger(__name__)


class Tested(Record):
    """What was found in a window."""

    window: int
    generation: int
    rows: int
    labelled: int
    findings: tuple[Finding, ...]
    evidence: float
    """An alert at 1."""
    raised: tuple[Signal, ...]
    report: str
    """Address of its report; empty where there is none."""


class Watched(Record):
    """What one look at a project's traffic did: what ``evertune monitor --json`` prints."""

    project: str
    windows: tuple[Window, ...]
    """Cut now."""
    tested: tuple[Tested, ...]
    """Tested now."""
    lost: int
    """Records of the log that could be in no window, since the first: their files were gone or torn."""
    unreported: int
    """Of the newest windows that were tested, those whose report could not be made; the log says why."""
    alert: Alert | None
    """Of the release that answers: that the policy ruled on now, or that a retrain was asked for before."""
    wakes: bool
    """Whether a retrain for drift is asked for that nobody works on yet."""


def watch(project: Project, settings: Settings, serve: references.Serve = served_here) -> Watched:
    """Cut what is due, test it, let the policy rule, tell who wants to know."""
    cut = window(project, settings)
    tested = report(project, settings, serve)
    alert = decide(project, settings)
    notify.tell(project, settings)
    engine = ledger_engine.ready(settings.database_url)
    return Watched(
        project=project.slug,
        windows=tuple(cut),
        tested=tuple(tested),
        lost=windows.lost(engine, project.slug),
        unreported=sum(bool(one.findings) and not one.report for one in windows.history(engine, project.slug)),
        alert=alert,
        wakes=wakes(project.slug, settings),
    )


def window(project: Project, settings: Settings) -> list[Window]:
    """Cut every window that is due."""
    engine = ledger_engine.ready(settings.database_url)
    read, options = traffic.outlines(settings, project.slug), project.monitoring.window
    found: list[Window] = []
    while (cut := windows.cut(engine, project.slug, read, options)) is not None:
        log.info("monitor.window", project=project.slug, window=cut.number, rows=cut.rows, generation=cut.generation)
        found.append(cut)
    return found


def report(project: Project, settings: Settings, serve: references.Serve = served_here) -> list[Tested]:
    """Test every window that has not been, in their order, with a report each."""
    engine = ledger_engine.ready(settings.database_url)
    found: list[Tested] = []
    while (untested := windows.untested(engine, project.slug)) is not None:
        alerts.settle(engine, project.slug)  # evidence begins anew where an alert was answered meanwhile
        with contextlib.suppress(alerts.AnsweredError):  # while the window was tested: once more, from nothing
            found.append(_test(engine, project, settings, untested, serve))
    return found


def _test(engine: Engine, project: Project, settings: Settings, about: Window, serve: references.Serve) -> Tested:
    before = alerts.evidence(engine, about)
    known = _reference(engine, project, settings, about, serve)
    if known is None:
        alerts.record(engine, about, (), before, (), before=before)
        return _told(about, (), before, (), 0, "")
    shape = traffic.Shape(known.labels, known.embeddings.shape[1])
    labelled, marks = traffic.labelled(project, settings, about, _counted(engine, about), shape)
    answers = traffic.sample(engine, settings, about, shape)
    near = copies.threshold(engine, project, about.generation)
    sides = copies.without_copies(answers, near), copies.without_copies(labelled, near)
    findings = detect(known, *sides, project.monitoring.signals, seed=about.number)
    after = advance(before, findings, about, project.monitoring)
    raised = _raised(engine, about, findings, after)
    explanation = _explained(known, answers, findings) if raised else None
    verdict = reports.Verdict(findings, raised, after, explanation)
    page = reports.report(engine, project, settings, about, reports.Seen(known, answers, labelled), verdict)
    alerts.record(
        engine, about, findings, after, raised,
        before=before, explanation=explanation, labelled=len(labelled), marks=marks, report=page,
    )  # fmt: skip
    return _told(about, findings, after, raised, len(labelled), page)


def _counted(engine: Engine, about: Window) -> Counted | None:
    """The labels that the windows before have counted."""
    last = windows.get(engine, about.project, about.number - 1)
    return Counted(last.labels_until, windows.marks(engine, about.project, last.number)) if last else None


def _reference(
    engine: Engine, project: Project, settings: Settings, about: Window, serve: references.Serve
) -> Reference | None:
    """What the window's release knows. Nothing is made anew for one that no longer answers: nobody could act on it."""
    current = releases.current(engine, project.slug)
    if current is None or current.generation != about.generation:
        found = references.kept(settings, project.slug, about.generation)
        if found is None:
            log.warning("monitor.not_tested", project=project.slug, window=about.number, generation=about.generation)
        return found
    return references.reference(engine, project, settings, current, serve)


def _raised(engine: Engine, about: Window, findings: Sequence[Finding], after: Evidence) -> tuple[Signal, ...]:
    """The signals that raise an alert on what answers now: nobody could act on another one."""
    current = releases.current(engine, about.project)
    if current is None or current.generation != about.generation or not crossed(after, findings):
        return ()
    return crossed(after, findings, alerts.answered_effects(engine, about, findings))


def _explained(known: Reference, answers: Sample, findings: Sequence[Finding]) -> Explanation | None:
    from evertune.monitoring.explain import explain

    try:
        return explain(known, answers, findings)
    except Exception:  # an alert without its explanation is worth more than none
        log.exception("monitor.not_explained")
        return None


def _told(  # noqa: PLR0917 - the fields of one record
    about: Window, findings: Sequence[Finding], after: Evidence, raised: Sequence[Signal], labelled: int, page: str
) -> Tested:
    log.info("monitor.tested", project=about.project, window=about.number, evidence=after.total, raised=list(raised))
    return Tested(
        window=about.number,
        generation=about.generation,
        rows=about.rows,
        labelled=labelled,
        findings=tuple(findings),
        evidence=after.total,
        raised=tuple(raised),
        report=page,
    )


def decide(project: Project, settings: Settings) -> Alert | None:
    """Let the policy rule on the open alert, if there is one; where it lets it, a retrain is asked for, once.

    Returns the alert as it is then, or the one that a retrain was asked for before. MLflow's alias is set right too,
    where it does not follow the ledger.
    """
    engine = ledger_engine.ready(settings.database_url)
    _reconcile(engine, project, settings)
    waiting = alerts.open_one(engine, project.slug)
    usable = _labels(engine, project, settings, waiting) if waiting else Usable(0, 0.0, 0)
    fewest = _fewest_groups(engine, project, waiting) if waiting else 0

    def rule(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
        if waiting is None or alert.key != waiting.key:
            return False, alert.ruling  # raised this moment: the next look has its labels counted
        facts = policy.Facts(
            usable.rows, usable.judged, standing.retrains, standing.generation, standing.working, usable.groups, fewest
        )
        ruling = policy.decide(alert, facts, project.monitoring.policy, project.retraining, standing.now)
        return ruling.retrain, ruling.why

    found = alerts.rule(engine, project.slug, rule)
    if found is None:
        return alerts.standing(engine, project.slug)
    log.info("monitor.ruling", project=project.slug, alert=found.key, status=found.status, ruling=found.ruling)
    return found


def _labels(engine: Engine, project: Project, settings: Settings, alert: AlertEntry) -> Usable:
    about = windows.get(engine, alert.project, alert.window)
    release = releases.current(engine, alert.project)
    if about is None or release is None or release.generation != alert.generation:
        return Usable(0, 0.0, 0)  # the ruling says that what it accuses no longer answers
    known, _ = references.learned(engine, alert.project, release)
    with ledger_engine.reading(engine) as session:
        now = ledger_engine.clock(session)
    return labels.usable(project, settings, about, known.labels, now)


def _fewest_groups(engine: Engine, project: Project, alert: AlertEntry) -> int:
    """That the gate would ask for were the retrain judged now."""
    from evertune.evaluation import gate

    return gate.fewest_groups(project.gate.confidence, runs.looks(engine, project.slug, alert.generation))


def _reconcile(engine: Engine, project: Project, settings: Settings) -> None:
    from evertune.releases import mlflow

    if releases.current(engine, project.slug) is None:
        return
    try:
        mlflow.reconcile(settings, project.slug, engine)
    except (EvertuneError, OSError) as fault:
        log.warning("monitor.alias", project=project.slug, reason=str(fault))


def wakes(slug: str, settings: Settings) -> bool:
    """Whether a retrain for drift is asked for and nobody works on the project: then somebody must be woken.

    Asked of the ledger and not of the ruling, so that a wake-up which got lost is made up for at the next look. For a
    run that failed somebody is woken again after a pause, or it would fail every quarter of an hour.
    """
    engine = ledger_engine.ready(settings.database_url)
    alerts.settle(engine, slug)
    return triggers.unheard(engine, slug) and not alerts.working(engine, slug)
