"""What people say of answers: checked, redacted, logged, and counted where it is a label."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evertune.serving.http import lookup
from evertune.serving.http.answering import log_away
from evertune.serving.http.problems import Fault, invalid
from evertune.serving.http.quality import SPAN, Label
from evertune.serving.log import Feedback, LogError, StoredFeedback
from evertune.serving.log.labels import label_of
from evertune.text import clean

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.engine.served import Served
    from evertune.serving.http.limits import Limits
    from evertune.serving.http.schemas import FeedbackBody
    from evertune.serving.http.service import Service


async def give(service: Service, caller: Identity, prediction_id: str, body: FeedbackBody) -> StoredFeedback:
    """Keep the feedback, redacted by the release's own patterns, and count its label.

    503 while no release of the project is here: without its patterns nothing can be redacted, so nothing is kept.
    """
    answer = (await lookup.stored(service, caller, prediction_id)).answer
    served = service.served(caller, answer.project, "feedback")
    check(body, served, service.limits)
    label = str(answer.output["label"])
    said = Feedback(
        project=answer.project,
        prediction_id=prediction_id,
        generation=answer.generation,
        predicted=label,
        truth=body.truth,
        correction=_redacted(served, body.correction),
        thumbs=body.thumbs,
        comment=_redacted(served, body.comment),
        key_id=caller.key_id,
        at=datetime.now(UTC),
        label=body.truth or (body.correction if body.correction in served.labels else None),
    )
    try:
        (feedback_id,) = await service.log.append([said])
    except LogError as fault:
        raise log_away(service, fault) from fault
    service.meters.feedback(said)
    if (truth := label_of(said, served.labels)) is not None:
        service.quality.add(said.project, Label(prediction_id, said.generation, truth, label, said.at))
    return StoredFeedback(feedback_id, 0, 0, said)


def check(body: FeedbackBody, served: Served, limits: Limits) -> None:
    """Raise 422 for a truth that is no label, and for words beyond all measure."""
    faults = []
    if body.truth is not None and body.truth not in served.labels:
        some = ", ".join(served.labels[:10]) + (", …" if len(served.labels) > 10 else "")
        faults.append(Fault(where="body.truth", what=f"is none of the project's labels: {some}"))
    if None not in (body.truth, body.correction) and body.correction in served.labels and body.correction != body.truth:
        faults.append(Fault(where="body.correction", what="is another label than truth: say which is right"))
    most = limits.comment_characters
    faults += [
        Fault(where=f"body.{name}", what=f"has more than {most:,} characters")
        for name in ("correction", "comment")
        if len(getattr(body, name) or "") > most
    ]
    if faults:
        raise invalid(*faults)


def _redacted(served: Served, text: str | None) -> str | None:
    return None if text is None else clean(text, served.redactor)[0]


async def rebuild_quality(service: Service) -> None:
    """Read the labels of each project that is new here out of the log, so that a restart forgets no score."""
    for project in set(service.live.projects()) - service.rebuilt:
        service.rebuilt.add(project)
        service.quality.rebuild(project, await asyncio.to_thread(_past_labels, service, project))


def _past_labels(service: Service, project: str) -> list[Label]:
    served = service.live.get(project)
    labels = served.labels if served else ()
    said = (one.feedback for one in service.log.recent_feedback(project, datetime.now(UTC) - SPAN))
    return [
        Label(one.prediction_id, one.generation, truth, one.predicted, one.at)
        for one in said
        # Answers that were picked because the model was unsure say nothing of how good the others are.
        if (truth := label_of(one, labels)) is not None and one.probability is None
    ]
