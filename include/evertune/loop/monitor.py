"""The monitor: traffic is cut into windows, tested against what its release knows, and ruled on by the policy.

Three steps, which Airflow runs as tasks and :func:`watch` in one process. Each may be killed at any line and called
again: what it did is in the ledger, and what it was about to do is still to be done.
"""

from __future__ import annotations

import contextlib

import structlog
from sqlalchemy import Engine

from evertune.ledger import alerts, releases, runs, windows
from evertune.ledger import engine as ledger_engine
from evertune.ledger.alerts import AlertEntry, Standing
from evertune.loop import labels, learned, notify, traffic, window_findings
from evertune.loop import reference as references
from evertune.loop.followed import served_here
from evertune.loop.labels import Usable
from evertune.loop.waking import held_back, wakes
from evertune.loop.window_findings import Tested
from evertune.monitoring import policy
from evertune.project import Project
from evertune.records import Alert, EvertuneError, Record, Window
from evertune.settings import Settings

__all__ = ["Watched", "decide", "held_back", "report", "wakes", "watch", "window"]

log = structlog.get_logger(__name__)


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
    held_back: str = ""
    """Why one that is asked for is not begun now, in words; empty where nothing holds it back."""


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
        wakes=wakes(project, settings),
        held_back=held_back(engine, project),
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
            found.append(window_findings.test(engine, project, settings, untested, serve))
    return found


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
    known, _ = learned.dataset(engine, alert.project, release)
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
