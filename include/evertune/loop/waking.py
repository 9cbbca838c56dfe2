"""A retrain that an alert asked for and nobody has begun: whether somebody must be woken, or why it is held back."""

from __future__ import annotations

import structlog
from sqlalchemy import Engine

from evertune.ledger import alerts, runs, triggers
from evertune.ledger import engine as ledger_engine
from evertune.monitoring import policy
from evertune.project import Project
from evertune.records import Cause
from evertune.settings import Settings

log = structlog.get_logger(__name__)


def wakes(project: Project, settings: Settings) -> bool:
    """Whether a retrain for drift is asked for and nobody works on the project: then somebody must be woken.

    Asked of the ledger and not of the ruling, so that a wake-up which got lost is made up for at the next look. For a
    run that failed somebody is woken again after a pause, or it would fail every quarter of an hour. Whenever it is,
    the policy's quiet hours and its limit a week hold. The limit is not asked for a run whose owner is gone: taking it
    over begins none, and its own begin may have used the week up.
    """
    engine = ledger_engine.ready(settings.database_url)
    alerts.settle(engine, project.slug)
    if triggers.unheard_from(engine, project.slug) is None or alerts.working(engine, project.slug):
        return False
    if why := held_back(engine, project):
        log.info("monitor.not_woken", project=project.slug, reason=why)
    return not why


def held_back(engine: Engine, project: Project) -> str:
    """Why a retrain that an alert asked for is not begun now; empty where it may be, is at work, or none is asked for.

    By the project file as it is now: the alert's ruling was about the moment at which it let the retrain be asked for.
    """
    slug = project.slug
    due = triggers.unheard_from(engine, slug)
    if due is None:
        return ""
    if alerts.working(engine, slug):
        waits = any(one.cause is Cause.ALERT for one in triggers.pending(engine, slug))
        return "a run is at work that was begun without it" if waits else ""
    with ledger_engine.reading(engine) as session:
        now, begun = ledger_engine.clock(session), triggers.begun_for_alerts(session, slug)
    if now < due:
        return f"the last try came to nothing, and the next is due at {due:%Y-%m-%d %H:%M} UTC"
    if runs.active(engine, slug) is not None:
        begun = []
    return policy.holds(begun, project.monitoring.policy, now)
