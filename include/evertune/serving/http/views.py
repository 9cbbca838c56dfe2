"""What is shown of projects, answers and feedback: the shapes of :mod:`.schemas`, filled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from evertune.records import JsonObject, Release
from evertune.serving.http import schemas, server_schemas
from evertune.serving.http.answering import Answered
from evertune.serving.http.lookup import Found

if TYPE_CHECKING:
    from evertune.serving.access import Identity
    from evertune.serving.engine.answers import Prediction
    from evertune.serving.http.service import Service
    from evertune.serving.log import StoredFeedback

_UNTOLD = "A key with the scope 'admin' is told why."


def predictions(answered: Answered) -> JsonObject:
    """The answer to a predict request as JSON values. Not by the models of pydantic: this runs for every request."""
    served = answered.served
    release = served.release
    return {
        "predictions": [
            _prediction(id_, one, served.labels)
            for id_, one in zip(answered.ids, answered.predictions, strict=True)
        ],
        "release": {
            "project": release.project,
            "generation": release.generation,
            "model_version": release.model_version,
        },
    }  # fmt: skip


def _prediction(id_: str | None, one: Prediction, labels: tuple[str, ...]) -> JsonObject:
    found: JsonObject = {
        "id": id_,
        "label": one.label,
        "scores": {label: round(score, 6) for label, score in zip(labels, one.scores, strict=True)},
        "cut": one.cut,
    }
    if one.attributions is not None:
        found["attributions"] = [
            {"word": word.word, "start": word.start, "end": word.end, "weight": round(word.weight, 6)}
            for word in one.attributions
        ]
    return found


def release(one: Release) -> schemas.ReleaseOut:
    """A release as it is shown."""
    return schemas.ReleaseOut.model_validate(one.model_dump())


def project(service: Service, slug: str, caller: Identity | None) -> schemas.ProjectOut:
    """A project in the list. Why a release was refused is for who runs the server: it may name files of it.

    No ``caller`` is somebody on an open surface, which shows all.
    """
    served, refusal = service.live.get(slug), service.live.refused.get(slug)
    told = caller is None or caller.allows(slug, "admin")
    return schemas.ProjectOut(
        project=slug,
        release=release(served.release) if served else None,
        labels=list(served.labels) if served else [],
        max_tokens=served.max_tokens if served else None,
        refused=schemas.RefusalOut(
            generation=refusal.generation, reason=refusal.reason if told else _UNTOLD, at=refusal.at
        )
        if refusal
        else None,
    )


def detail(service: Service, slug: str, caller: Identity) -> schemas.ProjectDetail:
    """A project with all that is known of its release."""
    served = service.live.get(slug)
    about: JsonObject = served.about if served else {}
    return schemas.ProjectDetail(
        **dict(project(service, slug, caller)),
        card=about.get("card"),
        metrics=about.get("metrics") or {},
        data_version=about.get("data_version"),
        engine=served.engine.model_dump(mode="json") if served else None,
        quality=quality(service, slug),
    )


def quality(service: Service, slug: str) -> list[schemas.RollingOut]:
    """Rolling scores by release."""
    rolling = service.quality.now(slug, datetime.now(UTC))
    return [schemas.RollingOut(generation=generation, **one._asdict()) for generation, one in rolling.items()]


def stored(found: Found) -> schemas.StoredPrediction:
    """An answer out of the log."""
    answer = found.stored.answer
    return schemas.StoredPrediction(
        id=found.stored.id,
        text=answer.text,
        label=answer.output["label"],
        scores=found.scores,
        cut=answer.output["cut"],
        release=schemas.ReleaseRef(
            project=answer.project, generation=answer.generation, model_version=answer.model_version
        ),
        received=answer.received,
        answered=answer.answered,
        feedback=[feedback(one) for one in found.said.newest],
        feedback_total=found.said.total,
        lineage=found.lineage,
    )


def feedback(one: StoredFeedback) -> schemas.FeedbackOut:
    """A feedback as it was kept."""
    said: Any = one.feedback
    return schemas.FeedbackOut(
        id=one.id,
        origin=said.origin,
        truth=said.truth,
        correction=said.correction,
        thumbs=said.thumbs,
        comment=said.comment,
        at=said.at,
    )


def overview(service: Service, slugs: list[str]) -> server_schemas.Overview:
    """The numbers of the page."""
    now = datetime.now(UTC)
    return server_schemas.Overview(at=now, projects=[_overview(service, slug, now) for slug in slugs])


def _overview(service: Service, slug: str, now: datetime) -> server_schemas.ProjectOverview:
    served, shown = service.live.get(slug), project(service, slug, None)
    p50, p99 = (service.traffic.quantile_s(slug, share) for share in (0.5, 0.99))
    metrics: JsonObject = (served.about.get("metrics") or {}) if served else {}
    return server_schemas.ProjectOverview(
        project=slug,
        release=shown.release,
        engine=served.engine.kind if served else None,
        f1_at_release=metrics.get("f1"),
        refused=shown.refused,
        requests_per_minute=round(service.traffic.per_minute(slug), 1),
        p50_ms=None if p50 is None else round(p50 * 1000, 2),
        p99_ms=None if p99 is None else round(p99 * 1000, 2),
        minutes=[server_schemas.MinuteOut(**one._asdict()) for one in service.traffic.minutes(slug)],
        quality=quality(service, slug),
        f1_history=[server_schemas.PointOut(**one._asdict()) for one in service.quality.history(slug, now)],
    )
