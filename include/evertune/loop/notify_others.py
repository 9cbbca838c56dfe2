"""Events for who tells people in another way: a team's own Airflow notifier (Slack, SMTP, …) gets each once, in order.

The chain of events is the outbox here too, and how far it was passed on is a row beside the webhooks' (`deliveries`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection

import structlog

from evertune.ledger import deliveries, events
from evertune.ledger import engine as ledger_engine
from evertune.loop.notify import cloud_event, not_told, notice_of
from evertune.project.monitoring_options import Notice
from evertune.records import JsonObject
from evertune.settings import Settings

log = structlog.get_logger(__name__)


def pass_on(
    slug: str, settings: Settings, name: str, kinds: Collection[Notice], give: Callable[[JsonObject], None]
) -> int:
    """Give each event of these kinds, as a CloudEvent, to ``give``; returns how many it took.

    ``name`` tells one receiver of a project from another. Where ``give`` fails, the event and those behind it are tried
    again at a later call, as a webhook's are; a failure here is only logged.
    """
    engine = ledger_engine.ready(settings.database_url)
    held = deliveries.take(engine, slug, deliveries.key_of(f"notifier {name}"))
    if held is None:
        return 0
    given, until = 0, held.until
    while pending := events.after(engine, slug, until):
        for event in pending:
            if notice_of(event) in kinds:
                try:
                    give(cloud_event(event))
                except Exception as fault:
                    log.exception("notify.not_passed_on", project=slug, notifier=name, notified=event.id)
                    # Its words may hold the address, and with that a secret: those are in the log alone.
                    not_told(engine, held, event, f"{type(fault).__name__}, see the log")
                    return given
                given += 1
            if (noted := deliveries.told(engine, held, event.id)) is None:
                return given  # another goes on from there
            held = noted
        until = pending[-1].id
    deliveries.give_back(engine, held)
    return given
