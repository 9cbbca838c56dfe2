"""Who wants to know is told what happened: the ledger's events go to the project's webhooks.

The events are the outbox: each was written in the very transaction that did what it tells of, so none is lost and none
tells of what did not happen. Each webhook goes through them by itself, in their order, until one does not get through;
then it is tried again later, and no other webhook waits for it. Nothing here may hold up the loop: there are time-outs
on everything, and who calls goes on when they have run out.

What is sent are keys, figures and reasons: no text of traffic or data is in the ledger's events, and the names of those
who decided are left out.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Iterator
from datetime import timedelta
from urllib.parse import urlsplit

import httpx
import structlog
from sqlalchemy import Engine

from evertune import __version__
from evertune.client import webhooks
from evertune.files import canonical
from evertune.ledger import deliveries, events, runs
from evertune.ledger import engine as ledger_engine
from evertune.ledger.deliveries import Delivery
from evertune.ledger.events import Event, Kind
from evertune.project import Project
from evertune.project.monitoring_options import Notice, Webhook
from evertune.records import EvertuneError, JsonObject, Record, RunStatus, StaleError
from evertune.settings import Settings

log = structlog.get_logger(__name__)

POST_S = 10.0
"""Seconds for a post to be taken."""
TURN_S = 30.0
"""Seconds after which a webhook starts no other post: the next look goes on there."""
LONGEST_S = 45.0
"""Seconds after which nobody waits for a webhook any more. Shorter than its row is held."""
PAUSE_S, LONGEST_PAUSE_S = 30.0, 6 * 3600.0
"""Between tries: doubled each time, up to the longest."""
GIVE_UP = timedelta(days=3)
"""An event that could not be told for so long holds up those behind it no more."""
FEWEST_TRIES = 8
"""And was tried so often, which takes an hour: where nobody delivered for days, an old event's first try may fail."""

_NOTICES = {
    Kind.ALERT: Notice.ALERT,
    Kind.FADED: Notice.FADED,
    Kind.VERDICT: Notice.VERDICT,
    Kind.RELEASE: Notice.RELEASE,
    Kind.FAILED: Notice.FAILED,
}
_PRIVATE = ("by", "owner")


class Told(Record):
    """What a webhook was told now."""

    webhook: str
    """Its address without what may be secret in it."""
    sent: int
    waiting: int
    """Events that it has yet to be told."""
    missed: int
    """That were given up, ever."""
    fault: str | None
    """Why the last try failed."""


def notify(project: Project, settings: Settings, *, now: bool = False) -> list[Told]:
    """Tell every webhook of the project what it does not know yet; ``now`` does not wait for the next try's time.

    Raises nothing for a webhook: what is wrong with one is in its :class:`Told`.
    """
    engine = ledger_engine.ready(settings.database_url)
    hooks = project.notifications.webhooks
    sent = dict.fromkeys(range(len(hooks)), 0)

    def work(place: int) -> None:
        try:
            for _ in _deliver(engine, project.slug, hooks[place], now):
                sent[place] += 1
        except Exception:  # one webhook's; the others go on, and its row goes free by itself
            log.exception("notify.broke_off", project=project.slug)

    _together([threading.Thread(target=work, args=(place,), daemon=True) for place in sent])
    done = [_told(engine, project.slug, hook, sent[place]) for place, hook in enumerate(hooks)]
    _empty_outbox(engine, project)
    return done


def tell(project: Project, settings: Settings) -> None:
    """Like :func:`notify` for a task that has done its work: whatever is wrong, it is only logged."""
    try:
        for one in notify(project, settings):
            if one.fault:
                log.warning("notify.fault", project=project.slug, webhook=one.webhook, fault=one.fault)
    except EvertuneError as fault:
        log.warning("notify.fault", project=project.slug, fault=str(fault))


def failed(slug: str, settings: Settings, *, owner: str, dag: str, task: str, message: str) -> None:
    """Record that a task of Airflow failed for good, where nothing in the ledger says so yet.

    The run that the owner holds ends as failed. A failure without a run (before the claim, or of the monitor) is an
    event of its own, one a task and day: a monitor that fails every quarter of an hour is one thing to know.
    """
    engine = ledger_engine.ready(settings.database_url)
    held = next((run for run in runs.history(engine, slug) if run.owner == owner), None)
    if held is None:
        with ledger_engine.writing(engine) as session:
            day = ledger_engine.clock(session).date().isoformat()
            events.append_once(session, slug, Kind.FAILED, {"dag": dag, "task": task, "day": day})
    elif held.status is RunStatus.ACTIVE:
        try:
            runs.fail(engine, runs.held(engine, held.key, owner), message)
        except StaleError as stale:
            log.warning("notify.not_failed", run=held.key, reason=str(stale))


def _together(threads: list[threading.Thread]) -> None:
    deadline = time.monotonic() + LONGEST_S
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(max(0.0, deadline - time.monotonic()))


def _deliver(engine: Engine, slug: str, hook: Webhook, now: bool) -> Iterator[Event]:
    """Yield each event that the webhook has taken."""
    secret = secret_of(hook)
    held = deliveries.take(engine, slug, deliveries.key_of(hook.url), now=now) if secret else None
    if held is None or secret is None:
        return
    deadline, until = time.monotonic() + TURN_S, held.until
    with httpx.Client(timeout=httpx.Timeout(POST_S, connect=POST_S / 2), follow_redirects=False) as http:
        while pending := events.after(engine, slug, until):
            for event in pending:
                if notice_of(event) in hook.events:
                    if time.monotonic() > deadline:
                        deliveries.give_back(engine, held)
                        return
                    if (fault := _post(http, hook.url, secret, event)) is not None:
                        not_told(engine, held, event, fault)
                        return
                    yield event
                if (noted := deliveries.told(engine, held, event.id)) is None:
                    return
                held = noted
            until = pending[-1].id
    deliveries.give_back(engine, held)


def secret_of(hook: Webhook) -> str | None:
    """The webhook's secret; ``None`` where the environment has none."""
    return os.environ.get(_variable(hook)) or None


def _variable(hook: Webhook) -> str:
    return "EVERTUNE_SECRET_" + hook.secret.removeprefix("${secret:").removesuffix("}")


def _post(http: httpx.Client, url: str, secret: str, event: Event) -> str | None:
    """Post the event; why not, where it was not taken. A redirect is not followed: it could lead anywhere."""
    body = canonical(cloud_event(event)).encode()
    headers = {
        "content-type": "application/cloudevents+json; charset=utf-8",
        "user-agent": f"evertune/{__version__}",
        webhooks.HEADER.lower(): webhooks.sign(secret, body),
    }
    try:
        with http.stream("POST", url, content=body, headers=headers) as answer:
            status = answer.status_code
    except (httpx.HTTPError, httpx.InvalidURL, OSError, ValueError) as fault:
        return f"{type(fault).__name__}: {_without_query(str(fault))}"
    return None if 200 <= status < 300 else f"it answered {status}"


def _without_query(words: str) -> str:
    return re.sub(r"\?\S*", "?…", words)


def not_told(engine: Engine, held: Delivery, event: Event, fault: str) -> None:
    """Note that the event did not get through and when the next try is due; after three days it is given up."""
    with ledger_engine.reading(engine) as session:
        old = ledger_engine.clock(session) - event.created > GIVE_UP
    if old and held.failures + 1 >= FEWEST_TRIES:
        deliveries.told(engine, held, event.id, missed=True)
    deliveries.failed(engine, held, fault, min(LONGEST_PAUSE_S, PAUSE_S * 2 ** min(held.failures, 20)))


def cloud_event(event: Event) -> JsonObject:
    """The event as CloudEvents 1.0 has it. ``id`` stays the same however often it is sent; ``sequence`` only rises."""
    notice = notice_of(event)
    about = [event.payload.get(name) for name in ("run", "alert", "dag")]
    return {
        "specversion": "1.0",
        "id": f"{event.id}-{event.hash[:16]}",
        "source": f"/evertune/projects/{event.project}",
        "type": f"evertune.{notice.value if notice else event.kind.value}",
        "subject": next((str(name) for name in about if name), event.project),
        "time": event.created.isoformat(),
        "sequence": f"{event.id:020}",
        "datacontenttype": "application/json",
        "data": {name: value for name, value in event.payload.items() if name not in _PRIVATE},
    }


def notice_of(event: Event) -> Notice | None:
    """What of the webhooks' kinds an event is; a release by a rollback is told as that."""
    if event.kind is Kind.RELEASE and event.payload.get("kind") == "rollback":
        return Notice.ROLLBACK
    return _NOTICES.get(event.kind)


def _told(engine: Engine, slug: str, hook: Webhook, sent: int) -> Told:
    row = _row(engine, slug, hook)
    fault = None if secret_of(hook) else f"{_variable(hook)} is not set: set it to the webhook's secret"
    waiting = events.after(engine, slug, row.until) if row else []
    parts = urlsplit(hook.url)
    return Told(
        webhook=f"{parts.scheme}://{parts.netloc}/…",
        sent=sent,
        waiting=sum(notice_of(event) in hook.events for event in waiting),
        missed=row.missed if row else 0,
        fault=fault or (row.fault if row else None),
    )


def _row(engine: Engine, slug: str, hook: Webhook) -> Delivery | None:
    key = deliveries.key_of(hook.url)
    return next((one for one in deliveries.all(engine, slug) if one.webhook == key), None)


def _empty_outbox(engine: Engine, project: Project) -> None:
    """Note how far everybody knows; all of it where nobody wants to."""
    rows = [_row(engine, project.slug, hook) for hook in project.notifications.webhooks]
    until = min((row.until if row else 0 for row in rows), default=events.head(engine).id)
    events.delivered_until(engine, project.slug, until)
