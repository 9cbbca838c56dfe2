"""Predict: check, compute, log, and only then answer."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Iterable, Sequence
from datetime import UTC, datetime
from itertools import repeat
from typing import TYPE_CHECKING, NamedTuple

from evertune.serving.engine.answers import DeadlineError, EngineError, OverloadedError, Prediction
from evertune.serving.http.problems import Fault, RefusedError, invalid, overloaded, too_late
from evertune.serving.log import Answer, LogError
from evertune.text import pseudonym

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.engine.served import Served
    from evertune.serving.http.limits import Limits
    from evertune.serving.http.service import Service

_log = logging.getLogger(__name__)
_LOG_RETRY_S = 30.0
_LONGEST_GROUP = 1_000


class Answered(NamedTuple):
    """The predictions of one request, and the release that made them."""

    served: Served
    ids: Sequence[str | None]
    predictions: Sequence[Prediction]


async def predict(
    service: Service,
    caller: Identity,
    project: str,
    texts: Sequence[str],
    *,
    explain: bool,
    arrived: float,
    groups: str | Sequence[str | None] | None = None,
) -> Answered:
    """Answer the texts; each answer is in the log before this returns. ``arrived`` is in the loop's time."""
    served = service.served(caller, project, "predict")
    check_texts(texts, service.limits, explain=explain)
    hashed = hashed_groups(groups, len(texts), project, service.salt)
    received = datetime.now(UTC)
    predictions = await _compute(service, served, texts, explain=explain, arrived=arrived)
    ids = await _logged(service, served, predictions, caller, received, arrived=arrived, groups=hashed)
    service.meters.answered(served, predictions)
    service.traffic.answered(project, asyncio.get_running_loop().time() - arrived)
    return Answered(served, ids, predictions)


def check_texts(texts: Sequence[str], limits: Limits, *, explain: bool) -> None:
    """Raise 422 with each text that is empty or too long, or where there are none or too many."""
    most = limits.explained_texts if explain else limits.texts
    if not 0 < len(texts) <= most:
        asked = " with explain" if explain else ""
        raise invalid(Fault(where="body.texts", what=f"has {len(texts)} texts; a request{asked} has 1 to {most}"))
    faults = [
        Fault(where=f"body.texts[{place}]", what=what)
        for place, text in enumerate(texts)
        if (what := _text_fault(text, limits.text_characters))
    ]
    if faults:
        raise invalid(*faults)


def _text_fault(text: str, longest: int) -> str | None:
    if not any(character.isprintable() and not character.isspace() for character in text):
        return "is empty"  # to the model too: what is invisible is dropped before it
    return f"has {len(text):,} characters; {longest:,} are allowed" if len(text) > longest else None


def hashed_groups(
    groups: str | Sequence[str | None] | None, texts: int, project: str, salt: str
) -> Iterable[str | None]:
    """What is kept of each text's group; as many as there are texts, or without end. Raises 422 for others."""
    if groups is None:
        return repeat(None)
    given = [groups] if isinstance(groups, str) else groups
    faults = []
    if not isinstance(groups, str) and len(groups) != texts:
        faults.append(Fault(where="body.groups", what=f"has {len(groups)} groups for {texts} texts: give one for each"))
    faults += [
        Fault(where="body.groups", what=f"number {place} must have 1 to {_LONGEST_GROUP} characters, or be null")
        for place, one in enumerate(given)
        if one is not None and (not one.strip() or len(one) > _LONGEST_GROUP)
    ][:20]
    if faults:
        raise invalid(*faults)
    names = {one: pseudonym(one, project, salt) for one in given if one is not None}
    return repeat(names[groups]) if isinstance(groups, str) else [names.get(one or "") for one in groups]


async def _compute(
    service: Service, served: Served, texts: Sequence[str], *, explain: bool, arrived: float
) -> list[Prediction]:
    deadline_s = service.limits.deadline_s
    try:
        return await service.batcher.submit(served, texts, explain=explain, deadline=arrived + deadline_s)
    except OverloadedError as fault:
        service.meters.refused("overloaded")
        raise overloaded(fault.retry_after_s) from fault
    except DeadlineError as fault:
        service.meters.refused("deadline")
        raise too_late(deadline_s) from fault
    except EngineError as fault:
        _log.exception("The model of %s failed", served.release.project)
        raise RefusedError(503, "unexpected", "The model failed on this request.", retry_after_s=5) from fault


async def _logged(
    service: Service,
    served: Served,
    predictions: Sequence[Prediction],
    caller: Identity,
    received: datetime,
    *,
    arrived: float,
    groups: Iterable[str | None],
) -> Sequence[str | None]:
    release, answered = served.release, datetime.now(UTC)
    answers = [
        Answer(
            release.project,
            release.generation,
            release.model_version,
            release.digest,
            one.text,
            {"label": one.label, "scores": one.scores, "cut": one.cut, "tokens": one.tokens},
            one.embedding,
            caller.key_id,
            received,
            answered,
            group,
        )
        for one, group in zip(predictions, groups, strict=False)
    ]
    try:
        return await _in_time(service, arrived, service.log.append(answers))
    except LogError as fault:
        if served.about.get("log_unavailable") == "answer":
            service.meters.unlogged(release.project, len(predictions))
            return [None] * len(predictions)
        raise log_away(service, fault) from fault


async def _in_time(service: Service, arrived: float, appending: Awaitable[Sequence[str]]) -> Sequence[str]:
    """The ids of what is logged by the deadline. A disk that hangs is no better than a full one."""
    try:
        async with asyncio.timeout_at(arrived + service.limits.deadline_s):
            return await appending
    except TimeoutError as fault:
        raise LogError("The traffic log's disk did not take the answer in time.") from fault


def log_away(service: Service, fault: LogError) -> RefusedError:
    """503: what cannot be logged is not answered."""
    service.meters.refused("log-full")
    _log.error("Not logged, so not answered: %s", fault)
    return RefusedError(
        503,
        "log-full",
        "It could not be logged, and unlogged nothing is answered. Try again later.",
        retry_after_s=_LOG_RETRY_S,
    )
