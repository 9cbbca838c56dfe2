"""Options of a project after its release: how its traffic is watched, what is learned from it, and who hears of it.

How traffic is watched changes no model and never retrains; what is learned from traffic does.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, field_validator

from evertune.project.block import Options, Share
from evertune.project.delivery_forms import DayTime, SecretName, WebhookUrl
from evertune.project.forms import Cron, Timezone, unfit
from evertune.project.source_options import unique


class WindowOptions(Options):
    """How traffic is cut into windows. Each answer is in one window; what comes late is in the next."""

    rows: Annotated[int, Field(ge=1, le=100_000)] = 500
    """Answers of a window: so many are cut off as soon as they are there."""
    hours: Annotated[float, Field(gt=0, le=24 * 31)] = 24.0
    """Hours after which a window is cut although it has fewer answers."""
    fewest_rows: Annotated[int, Field(ge=1)] = 50
    """Fewer answers than this are left to wait for more, however long they have waited: they could show nothing."""


class Signals(Options):
    """What is watched, each with the smallest effect that matters; `null` turns one off."""

    embedding: Annotated[float, Field(gt=0, lt=1)] | None = 0.05
    """Share of the traffic that the model's embeddings tell from the reference. Where a tenth is of a new kind, about
    half of it can be told."""
    output: Annotated[float, Field(gt=0, lt=1)] | None = 0.10
    """Change of the model's probabilities: largest distance between their distributions (Kolmogorov and Smirnov)."""
    low_confidence: Annotated[float, Field(gt=0, lt=1)] | None = 0.10
    """Rise of the share of answers that the model is less sure of than of nine tenths of the reference."""
    label_mix: Annotated[float, Field(gt=0, lt=1)] | None = 0.10
    """Change of the shares of the answered labels (total variation distance)."""
    f1: Annotated[float, Field(gt=0, lt=1)] | None = 0.03
    """Fall of macro F1 on labelled traffic."""
    errors: Annotated[float, Field(gt=0, lt=1)] | None = 0.03
    """Rise of the share of wrong answers on labelled traffic."""


class QuietHours(Options):
    """When no retrain is started by itself; what comes up meanwhile waits. May go past midnight."""

    start: DayTime
    """First minute, as `22:00`."""
    end: DayTime
    """First minute after, as `06:30`."""
    timezone: Timezone = "UTC"
    """Zone of these times, as the IANA names it."""


class Policy(Options):
    """When an alert may start a retrain."""

    fewest_rows: Annotated[int, Field(ge=1)] = 200
    """Answers that the alert must rest on."""
    fewest_labels: Annotated[int, Field(ge=0)] = 400
    """Texts of the drifted traffic that must have a usable label, to learn and to judge from; so many more that
    `retraining.fewest_judged` of them are to judge on, of as many groups as a proof takes. Until then labels are asked
    for and nothing is retrained. `0`: retrain without."""
    cooldown_hours: Annotated[float, Field(ge=0, le=24 * 365)] = 12.0
    """Hours between the starts of two retrains for drift, by the database's clock. One that failed is begun again after
    an hour, then after two, four, at most a day."""
    retrains_per_week: Annotated[int, Field(ge=0, le=1000)] = 3
    """Retrains for drift in any seven days. One that is begun again after it failed counts again."""
    quiet_hours: QuietHours | None = None
    """When none is started by itself."""


class Monitoring(Options):
    """How traffic is watched."""

    cron: Cron = "*/15 * * * *"
    """When it is looked at, in UTC; `""` for never."""
    window: WindowOptions = WindowOptions()
    """How it is cut into windows."""
    signals: Signals = Signals()
    """What is watched."""
    false_alerts_per_year: Annotated[float, Field(gt=0, le=1000)] = 1.0
    """Alerts without a drift that are accepted a year, over all windows and signals together."""
    policy: Policy = Policy()
    """When an alert may start a retrain."""


class Retraining(Options):
    """What is learned from labelled traffic. Without labels a retrain learns from the sources alone."""

    traffic_share: Share = 0.5
    """Largest share of the training rows that may be labelled traffic; of more, the newest are taken. `0`: none."""
    judged_share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    """Share of the labelled traffic, by group, that is never trained on: on it a challenger must show that it is
    better."""
    days: Annotated[int, Field(ge=1, le=3650)] = 90
    """Labels older than this are left out."""
    fewest_judged: Annotated[int, Field(ge=1)] = 100
    """Judged rows of traffic that a proof on them takes; with fewer, or where they are of too few groups (documents,
    customers) for any proof, the gate judges on the frozen test rows alone."""
    frozen_margin: Annotated[float, Field(gt=0, lt=1)] = 0.02
    """Largest loss of the primary metric on the frozen test rows that is accepted for a gain on traffic."""


class Notice(StrEnum):
    """What is told."""

    ALERT = "alert"
    FADED = "faded"
    VERDICT = "verdict"
    RELEASE = "release"
    ROLLBACK = "rollback"
    FAILED = "failed"


class Webhook(Options):
    """An address that events are posted to, as CloudEvents in JSON, signed with a secret of yours (HMAC-SHA256)."""

    url: WebhookUrl
    """`https://…`; `http://` on this machine only."""
    secret: SecretName
    """`${secret:NAME}`: the environment variable `EVERTUNE_SECRET_NAME` holds it."""
    events: Annotated[tuple[Notice, ...], Field(min_length=1)] = tuple(Notice)
    """Which events it hears of."""

    @field_validator("events")
    @classmethod
    def _are_different(cls, value: tuple[Notice, ...]) -> tuple[Notice, ...]:
        unique(tuple(one.value for one in value))
        return value


class Notifications(Options):
    """Who hears of it."""

    webhooks: tuple[Webhook, ...] = ()
    """Addresses that events are posted to, each once."""

    @field_validator("webhooks")
    @classmethod
    def _have_an_address_each(cls, value: tuple[Webhook, ...]) -> tuple[Webhook, ...]:
        # How far an address has been told is kept by it alone: of two entries one would never hear of its events.
        if len({one.url for one in value}) < len(value):
            raise unfit("expected different addresses; one stands there twice: name all its events in one entry")
        return value
