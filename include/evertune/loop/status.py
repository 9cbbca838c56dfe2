"""Where each project stands, and whether MLflow's alias says the same as the ledger."""

from __future__ import annotations

from sqlalchemy import Engine

from evertune.ledger import alerts, releases, runs, servers, triggers
from evertune.ledger import engine as ledger_engine
from evertune.ledger.servers import Server
from evertune.loop.waking import held_back
from evertune.project import Project
from evertune.records import EvertuneError, Record, Release, Run
from evertune.settings import Settings


class ProjectStatus(Record):
    """A project as ``evertune status`` shows it."""

    project: str
    release: Release | None
    active: Run | None
    awaiting_approval: str | None
    """Key of the run that waits for a person's yes."""
    asked: tuple[str, ...]
    """Why the next run is asked for, by requests that no run has answered yet."""
    held_back: str
    """Why a retrain that an alert asked for is not begun now; empty where nothing holds one back."""
    last_run: str | None
    last_verdict: str | None
    last_error: str | None
    mended: str | None = None
    """What was wrong with MLflow's alias and has been set right, in words."""
    fault: str | None = None
    """Why the alias could not be looked at, or is left as it is although it says something else than the ledger."""
    servers: tuple[Server, ...] = ()
    """What each server last said: which generation answers there, and which it refused and why."""


def status(project: Project, settings: Settings) -> ProjectStatus:
    """Look at the ledger, set right what MLflow's alias says wrong, and tell."""
    engine = ledger_engine.ready(settings.database_url)
    mended, fault = _reconcile(settings, project.slug, engine)
    alerts.settle(engine, project.slug)  # what accuses a release that no longer answers asks for nothing any more
    history = runs.history(engine, project.slug, limit=1)
    last = history[0] if history else None
    waiting = runs.awaiting(engine, project.slug)
    return ProjectStatus(
        project=project.slug,
        release=releases.current(engine, project.slug),
        active=runs.active(engine, project.slug),
        awaiting_approval=waiting.key if waiting else None,
        asked=tuple(dict.fromkeys(trigger.reason for trigger in triggers.pending(engine, project.slug))),
        held_back=held_back(engine, project),
        last_run=last.key if last else None,
        last_verdict=last.decision if last else None,
        last_error=last.message if last else None,
        mended=mended,
        fault=fault,
        servers=tuple(servers.all(engine, project.slug)),
    )


def _reconcile(settings: Settings, slug: str, engine: Engine) -> tuple[str | None, str | None]:
    """What was mended, and what is wrong that is not."""
    no_registry = not (settings.home / "mlflow").exists() and settings.mlflow_uri.startswith("sqlite:")
    if no_registry and releases.current(engine, slug) is None:
        return None, None  # nothing was ever trained here: no reason to make a registry
    from evertune.releases import mlflow

    try:
        return mlflow.reconcile(settings, slug, engine), None
    except EvertuneError as fault:
        return None, str(fault)
