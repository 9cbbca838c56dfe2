"""The page that the demo ends with: one HTML file that tells what happened, in pictures and with its sources."""

from __future__ import annotations

import base64
from datetime import datetime
from pathlib import Path
from typing import Any

from evertune import files
from evertune.ledger import alerts, releases, runs, steps, windows
from evertune.records import Decision, Evaluation, Step
from scripts.demo import held, pictures
from scripts.demo.drift import AFTER, BEFORE, REVIEWS, Loop
from scripts.demo.pictures import GREEN, GREY, ORANGE, Mark, Score
from scripts.demo.replay import Answered, f1
from scripts.demo.rows import SHARE_BEFORE, Sentence

TEMPLATE = Path(__file__).with_name("story.html.j2")


def write(loop: Loop) -> Path:
    """Write the page from what the ledger and the answers say; return its path."""
    import jinja2

    path = loop.settings.home / "demo" / "story.html"
    template = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined).from_string(TEMPLATE.read_text())
    files.write_text(path, template.render(_facts(loop)))
    return path


def _facts(loop: Loop) -> dict[str, Any]:
    answers, scores, trained = loop.replay.answered(), _scores(loop), _trained(loop)
    judged = _result(loop, trained[-1], Step.JUDGE) if len(trained) > 1 else None
    tuned = _result(loop, trained[-1], Step.TUNE) if len(trained) > 1 else None
    project = loop.project
    return {
        "slug": loop.slug,
        "generation": loop.current().generation,
        "phases": {name: _phase(answers, phase) for name, phase in
                   (("reviews", REVIEWS), ("before", BEFORE), ("after", AFTER))},
        "story": _image(pictures.story(answers, scores, _marks(loop, answers, scores))),
        "false_alerts": f"{project.monitoring.false_alerts_per_year:g}",
        "parts": _parts(loop, trained),
        "share_before": f"{SHARE_BEFORE:.0%}",
        "frozen_margin": f"{100 * project.retraining.frozen_margin:g}",
        "smallest_gain": f"{100 * project.gate.smallest_gain:g}",
        "alerts": [alert.model_dump(mode="json") for alert in alerts.history(loop.ledger, loop.slug)],
        "verdict": judged,
        "compared": _compared(Evaluation.model_validate(tuned["evaluation"])) if tuned else None,
        "checks": held.checks(loop),
        "links": _links(loop),
    }  # fmt: skip


def _phase(answers: list[Answered], phase: str) -> dict[str, float | None]:
    """How many there were and their macro F1; none where the demo did not come to this phase."""
    some = [one for one in answers if one.phase == phase]
    return {"rows": len(some), "f1": f1(some) if some else None}


def _scores(loop: Loop) -> list[Score]:
    return [Score(start, end, window.evidence.total if window.evidence else 0.0) for window, start, end in loop.cut()]


def _marks(loop: Loop, answers: list[Answered], scores: list[Score]) -> list[Mark]:
    def before(moment: datetime) -> int:
        return sum(one.at < moment.timestamp() for one in answers)

    raised = [alert for alert in alerts.history(loop.ledger, loop.slug) if alert.window <= len(scores)]
    begun = [run for run in runs.history(loop.ledger, loop.slug, limit=100) if run.key in _trained(loop)[1:]]
    live = [release.generation for release in releases.history(loop.ledger, loop.slug) if release.generation > 1]
    first = {generation: [at for at, one in enumerate(answers) if one.generation == generation] for generation in live}
    return [
        *(Mark(scores[alert.window - 1].end, "alert", ORANGE) for alert in raised),
        *(Mark(before(run.created), "retrain begins", GREY) for run in begun),
        *(Mark(places[0], f"release {generation} answers", GREEN) for generation, places in first.items() if places),
    ]


def _parts(loop: Loop, trained: list[str]) -> dict[str, Any]:
    """Sizes of what was cut: of the reviews by split, of the editorials with their documents."""
    traffic = loop.traffic
    return {
        **_result(loop, trained[0], Step.PREPARE)["rows"],
        "replayed": len(traffic.reviews),
        "before": len(traffic.editorials_before),
        "before_documents": _documents(traffic.editorials_before),
        "after": len(traffic.editorials_after),
        "after_documents": _documents(traffic.editorials_after),
        "judged_share": f"{loop.project.retraining.judged_share:.0%}",
    }


def _documents(sentences: list[Sentence]) -> int:
    return len({sentence.group for sentence in sentences})


def _trained(loop: Loop) -> list[str]:
    """Keys of the runs that the gate has judged, oldest first."""
    found = runs.history(loop.ledger, loop.slug, limit=100)
    return [run.key for run in reversed(found) if run.decision and run.decision is not Decision.UNCHANGED]


def _result(loop: Loop, run_key: str, step: Step) -> dict[str, Any]:
    return steps.result(loop.ledger, run_key, step) or {}


def _compared(evaluation: Evaluation) -> str | None:
    rows = [(f"test rows ({evaluation.challenger.rows:,})", evaluation.champion, evaluation.challenger)]
    if (recent := evaluation.recent) is not None:
        rows.append((f"judged traffic ({recent.rows:,})", recent.champion, recent.challenger))
    values = [(name, old.f1, new.f1) for name, old, new in rows if old is not None]
    return _image(pictures.before_and_after(values)) if values else None


def _links(loop: Loop) -> list[tuple[str, str]]:
    here = loop.here
    told = [window for window in windows.history(loop.ledger, loop.slug, limit=None) if window.report]
    return [
        ("The retrains in Airflow", f"{here.airflow_url}/dags/retrain__{loop.slug}"),
        ("The monitor in Airflow", f"{here.airflow_url}/dags/monitor__{loop.slug}"),
        ("The models in MLflow", f"{here.mlflow_url}/#/models/{loop.slug}"),
        ("The page of the server", here.serving_url),
        *((f"The Evidently report of window {window.number}", window.report) for window in told),
    ]


def _image(png: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(png).decode()}"
