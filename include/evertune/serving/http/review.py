"""The review queue: answers that people should label, and the labels that they give."""

from __future__ import annotations

import asyncio
import hashlib
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evertune.serving.http import feedback
from evertune.serving.http.answering import log_away
from evertune.serving.http.problems import Fault, invalid
from evertune.serving.http.review_schemas import ReviewBody, ReviewOut, ReviewRow
from evertune.serving.labelling import Given, Labelling
from evertune.serving.log import LogError
from evertune.serving.log.labels import answers_of

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.http.service import Service
    from evertune.serving.labelling import Drawn

_MOST_FAULTS = 20


async def queue(service: Service, caller: Identity, project: str, limit: int) -> ReviewOut:
    """The next answers to label. Each key is given them in an order of its own, so that two people seldom collide.

    The order says nothing of the answers: whoever stops after some of them has labelled a fair part of all.
    """
    served = service.served(caller, project, "feedback")
    drawn = await asyncio.to_thread(service.review.draw, project)
    drawn.sort(key=lambda one: hashlib.sha256(f"{caller.key_id}/{one.id}".encode()).digest())
    return ReviewOut(
        project=project,
        generation=served.release.generation,
        labels=list(served.labels),
        waiting=len(drawn),
        rows=[_row(service, project, one) for one in drawn[:limit]],
    )


def _row(service: Service, project: str, one: Drawn) -> ReviewRow:
    label = max(one.scores, key=lambda name: one.scores[name], default="")
    pick = service.picks.sign(project, one.id, one.probability)
    return ReviewRow(id=one.id, text=one.text, label=label, scores=one.scores, why=one.why, pick=pick)


async def give(service: Service, caller: Identity, project: str, body: ReviewBody) -> int:
    """Keep the labels, all or none; returns of how many answers."""
    served = service.served(caller, project, "feedback")
    given = [
        Given(f"body.labels[{place}]", one.id, one.label, one.pick, one.annotator)
        for place, one in enumerate(body.labels)
    ]
    answers = await asyncio.to_thread(answers_of, service.log.folder, project, {one.id for one in given})
    labelling = Labelling(
        project, served.labels, service.picks, body.origin, caller.key_id, service.salt, datetime.now(UTC)
    )  # fmt: skip
    records, wrong = labelling.feedback(given, answers)
    if wrong:
        raise invalid(*(Fault(where=one.where, what=one.what) for one in wrong[:_MOST_FAULTS]))
    try:
        await service.log.append(records)
    except LogError as fault:
        raise log_away(service, fault) from fault
    for said in records:
        feedback.count(service, said)
    service.review.labelled(project, {said.prediction_id for said in records})
    return len(records)
