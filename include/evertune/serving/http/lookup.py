"""What is known of an answer: out of the log, and where its release comes from."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from evertune.records import JsonObject, Release, UnreachableError
from evertune.serving.http.problems import LEDGER_RETRY_S, RefusedError, unknown
from evertune.serving.http.schemas import Lineage

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.http.service import Service
    from evertune.serving.log import StoredAnswer
    from evertune.serving.log.reading import Said

T = TypeVar("T")


class Found(NamedTuple):
    """An answer out of the log with what was said of it."""

    stored: StoredAnswer
    said: Said
    scores: dict[str, float]
    lineage: Lineage | None


async def stored(service: Service, caller: Identity, prediction_id: str) -> StoredAnswer:
    """The answer with this id; 404, in the same words, for one that is not there and one of another project."""
    found = await asyncio.to_thread(service.log.find, prediction_id)
    if found is None or not caller.allows(found.answer.project, "read"):
        raise unknown("prediction of this id")
    return found


async def find(service: Service, caller: Identity, prediction_id: str) -> Found:
    """The answer with its newest feedback and its lineage."""
    one = await stored(service, caller, prediction_id)
    answer = one.answer
    said = await asyncio.to_thread(service.log.feedback, prediction_id, answer.project, service.limits.feedback)
    lineage = await origin(service, answer.project, answer.generation)
    labels = _served_labels(service, answer.project, answer.generation) or (lineage.labels if lineage else None)
    return Found(one, said, named_scores(answer.output, labels), lineage)


async def labels_of(service: Service, project: str, generation: int) -> Sequence[str] | None:
    """The labels of this release; ``None`` where it is not the one that answers now, and the ledger is away."""
    if (labels := _served_labels(service, project, generation)) is not None:
        return labels
    lineage = await origin(service, project, generation)
    return lineage.labels or () if lineage else None


def _served_labels(service: Service, project: str, generation: int) -> Sequence[str] | None:
    served = service.live.get(project)
    return served.labels if served is not None and served.release.generation == generation else None


async def origin(service: Service, project: str, generation: int) -> Lineage | None:
    """Where a release comes from; ``None`` while the ledger is away."""
    try:
        return Lineage.model_validate(await _ledger(service, service.lineage, project, generation))
    except UnreachableError:
        return None


async def releases(service: Service, caller: Identity, project: str) -> list[Release]:
    """All releases of a project, newest first; 503 while the ledger is away."""
    service.admit(caller, project)
    try:
        return await _ledger(service, service.history, project)
    except UnreachableError as fault:
        raise ledger_away() from fault


def ledger_away() -> RefusedError:
    """503: only the ledger could say."""
    return RefusedError(
        503,
        "ledger-away",
        "The ledger cannot be reached. Predictions go on; try this again later.",
        retry_after_s=LEDGER_RETRY_S,
    )


async def _ledger(service: Service, asked: Callable[..., T], *arguments: object) -> T:
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(service.limits.ledger_s):
            return await loop.run_in_executor(service.ledger_threads, asked, *arguments)
    except TimeoutError as fault:
        raise UnreachableError(f"The ledger did not answer within {service.limits.ledger_s:g} s.") from fault


def named_scores(output: JsonObject, labels: Sequence[str] | None) -> dict[str, float]:
    """Label → probability of a logged answer; only the answer's own where its release's labels are not known."""
    scores = [round(float(one), 6) for one in output["scores"]]
    if labels is None or len(labels) != len(scores):
        return {str(output["label"]): max(scores)}
    return dict(zip(labels, scores, strict=True))
