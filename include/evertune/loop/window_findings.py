"""A window of traffic is tested against what its release knows: findings, evidence, an alert, a report."""

from __future__ import annotations

from collections.abc import Sequence

import structlog
from sqlalchemy import Engine

from evertune.ledger import alerts, releases, windows
from evertune.ledger.alerts import AlertEntry
from evertune.loop import copies, traffic
from evertune.loop import reference as references
from evertune.loop import window_reports as reports
from evertune.monitoring import budget
from evertune.monitoring.detect import detect
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project import Project
from evertune.records import AlertStatus, Evidence, Explanation, Finding, Record, Signal, Window
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
    faded: tuple[Signal, ...]
    """Signals of the open alert that left it: it was closed where none is left."""
    report: str
    """Address of its report; empty where there is none."""
    lacks: str = ""
    """What the reference that it was compared with should have been made of and is gone, in words."""


def test(engine: Engine, project: Project, settings: Settings, about: Window, serve: references.Serve) -> Tested:
    """Test the window, record what was found with the alert that it raises, extends or lets go, and report it.

    Raises :class:`~evertune.ledger.alerts.AnsweredError` where an alert was answered meanwhile: then nothing is kept.
    """
    before = alerts.evidence(engine, about)
    known = _reference(engine, project, settings, about, serve)
    if known is None:
        alerts.record(engine, about, (), before, (), before=before)
        return _told(about, (), before, (), (), 0, "")
    shape = traffic.Shape(known.labels, known.embeddings.shape[1])
    labelled, marks = traffic.labelled(project, settings, about, _counted(engine, about), shape)
    answers = traffic.sample(engine, settings, about, shape)
    near = copies.threshold(engine, project, about.generation)
    sides = copies.without_copies(answers, near), copies.without_copies(labelled, near)
    findings = detect(known, *sides, project.monitoring.signals, seed=about.number)
    standing = _standing(engine, about)
    after = budget.advance(before, findings, about, project.monitoring)
    faded = budget.faded(after, standing.signals) if standing and standing.status is AlertStatus.OPEN else ()
    after = budget.without(after, faded)
    raised = _raised(engine, about, findings, after, standing)
    after = budget.heard(after, raised, standing.signals if standing else ())
    explanation = _explained(known, answers, findings) if raised else None
    verdict = reports.Verdict(findings, raised, after, explanation)
    page = reports.report(engine, project, settings, about, reports.Seen(known, answers, labelled), verdict)
    alerts.record(
        engine, about, findings, after, raised,
        faded=faded, before=before, explanation=explanation, labelled=len(labelled), marks=marks, report=page,
    )  # fmt: skip
    told = _told(about, findings, after, raised, faded, len(labelled), page)
    return told.model_copy(update={"lacks": known.lacks})


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


def _standing(engine: Engine, about: Window) -> AlertEntry | None:
    """The alert on what answers now, if the window is of that too."""
    found = alerts.standing(engine, about.project)
    return found if found is not None and found.generation == about.generation else None


def _raised(
    engine: Engine, about: Window, findings: Sequence[Finding], after: Evidence, standing: AlertEntry | None
) -> tuple[Signal, ...]:
    """The signals that raise or extend an alert on what answers now: nobody could act on another one."""
    current = releases.current(engine, about.project)
    if current is None or current.generation != about.generation or not budget.crossed(after, findings):
        return ()
    answered = alerts.answered_effects(engine, about, findings)
    return budget.crossed(after, findings, answered, standing.signals if standing else ())


def _explained(known: Reference, answers: Sample, findings: Sequence[Finding]) -> Explanation | None:
    from evertune.monitoring.explain import explain

    try:
        return explain(known, answers, findings)
    except Exception:  # an alert without its explanation is worth more than none
        log.exception("monitor.not_explained")
        return None


def _told(  # noqa: PLR0917 - the fields of one record
    about: Window, findings: Sequence[Finding], after: Evidence, raised: Sequence[Signal], faded: Sequence[Signal],
    labelled: int, page: str,
) -> Tested:  # fmt: skip
    log.info(
        "monitor.tested", project=about.project, window=about.number, evidence=after.total, raised=list(raised),
        faded=list(faded),
    )  # fmt: skip
    return Tested(
        window=about.number,
        generation=about.generation,
        rows=about.rows,
        labelled=labelled,
        findings=tuple(findings),
        evidence=after.total,
        raised=tuple(raised),
        faded=tuple(faded),
        report=page,
    )
