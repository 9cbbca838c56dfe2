"""What people say of answers: checked, redacted, logged, and counted where it is a label."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Collection, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from evertune.serving.http import lookup
from evertune.serving.http.answering import log_away
from evertune.serving.http.problems import Fault, invalid
from evertune.serving.http.quality import SPAN, Label
from evertune.serving.log import Feedback, LogError, StoredFeedback
from evertune.serving.log.labels import ORDER, label_of
from evertune.text import clean

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.engine.served import Served
    from evertune.serving.http.limits import Limits
    from evertune.serving.http.schemas import FeedbackBody
    from evertune.serving.http.service import Service
    from evertune.serving.log import Answer

_log = logging.getLogger(__name__)
_AT_ONCE = 50


async def give(service: Service, caller: Identity, prediction_id: str, body: FeedbackBody) -> StoredFeedback:
    """Keep the feedback, redacted by the release's own patterns, and count its label.

    503 while no release of the project is here: without its patterns nothing can be redacted, so nothing is kept.
    """
    answer = (await lookup.stored(service, caller, prediction_id)).answer
    served = service.served(caller, answer.project, "feedback")
    labels = await _labels(service, served, answer, body.truth)
    check(body, labels, service.limits)
    said = Feedback(
        project=answer.project,
        prediction_id=prediction_id,
        generation=answer.generation,
        predicted=str(answer.output["label"]),
        truth=body.truth,
        correction=_redacted(served, body.correction),
        thumbs=body.thumbs,
        comment=_redacted(served, body.comment),
        key_id=caller.key_id,
        at=datetime.now(UTC),
        label=body.truth or (body.correction if body.correction in labels else None),
    )
    try:
        (feedback_id,) = await service.log.append([said])
    except LogError as fault:
        raise log_away(service, fault) from fault
    count(service, said)
    return StoredFeedback(feedback_id, 0, 0, said)


def count(service: Service, said: Feedback) -> None:
    """Count what was said and is in the log, just as a restart would that reads it there."""
    service.meters.feedback(said)
    if (label := _label(said)) is not None:
        service.quality.add(said.project, label)


async def _labels(service: Service, served: Served, answer: Answer, truth: str | None) -> Sequence[str]:
    """The labels of the release that answered, and of the one that answers now, whose successor learns from them.

    503 where only the ledger could say whether the truth is one of them, and is away.
    """
    then = await lookup.labels_of(service, answer.project, answer.generation)
    if then is None and truth is not None and truth not in served.labels:
        raise lookup.ledger_away()
    return list(dict.fromkeys([*(then or ()), *served.labels]))


def check(body: FeedbackBody, labels: Sequence[str], limits: Limits) -> None:
    """Raise 422 for a truth that is no label, and for words beyond all measure."""
    faults = []
    if body.truth is not None and body.truth not in labels:
        some = ", ".join(labels[:10]) + (", …" if len(labels) > 10 else "")
        faults.append(Fault(where="body.truth", what=f"is none of the project's labels: {some}"))
    if None not in (body.truth, body.correction) and body.correction in labels and body.correction != body.truth:
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
    """Read the labels of each project that is new here out of the log, so that a restart forgets no score.

    What cannot be read is read at the next call.
    """
    for project in set(service.live.projects()) - service.rebuilt:
        try:
            labels = await asyncio.to_thread(_past_labels, service, project)
        except Exception:  # noqa: BLE001 - the scores are worth a line in the log, not the server
            _log.exception("Rolling scores of %s could not be read out of the traffic log; tried again", project)
            continue
        service.quality.rebuild(project, labels)
        service.rebuilt.add(project)


def _past_labels(service: Service, project: str) -> list[Label]:
    elsewhere = service.log.elsewhere(project)  # before the log is read, so that nothing falls between
    said = service.log.recent_feedback(project, datetime.now(UTC) - SPAN)
    labels = [label for one in said if (label := _label(one.feedback, _classes(service, project))) is not None]
    service.elsewhere[project] = elsewhere
    return labels


def _classes(service: Service, project: str) -> Collection[str]:
    served = service.live.get(project)
    return served.labels if served else ()


async def count_elsewhere(service: Service) -> None:
    """Count the labels that other processes of this home have kept since the last call: imports, other servers."""
    for project, elsewhere in list(service.elsewhere.items()):
        try:
            said = await asyncio.to_thread(elsewhere.look, datetime.now(UTC) - SPAN)
        except Exception:  # noqa: BLE001 - as above; the files are looked at again
            _log.exception("Labels of %s that others kept could not be read; tried again", project)
            continue
        labels = [label for one in said if (label := _label(one.feedback, _classes(service, project))) is not None]
        for number, label in enumerate(labels):
            if number % _AT_ONCE == 0:
                await asyncio.sleep(0)  # an import may be large, and requests are answered by the same thread
            service.quality.add(project, label)
        service.review.labelled(project, {label.prediction_id for label in labels})


def _label(said: Feedback, classes: Collection[str] = ()) -> Label | None:
    """The label that counts in the scores, if it gives one. ``classes``: for what a version before this kept."""
    if (truth := label_of(said, classes)) is None:
        return None
    rank = ORDER.index(said.origin)
    picked = said.probability is not None
    return Label(said.prediction_id, said.generation, truth, said.predicted, said.at, rank, picked)
