"""A window's report: Evidently's pictures of what changed, around the verdict that was taken without it.

The report decides nothing and tests nothing anew. What it calls drift is what raised the alert, so that the two can
never disagree (:mod:`.verdicts`). It is written once a window, as a sealed folder:

- ``report.html``: for people; safe to open wherever it lies (:mod:`.page`)
- ``report.json``: the verdict, the explanation and Evidently's figures
- ``snapshot.json``: for Evidently's own interface (:mod:`.workspace`); figures only, no texts
"""

from __future__ import annotations

import base64
import json
import logging
import os
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from evertune import files
from evertune.monitoring import page
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.records import JsonObject
from evertune.records.traffic import Evidence, Explanation, Finding, Signal, Window

if TYPE_CHECKING:
    from evidently.core.serialization import SnapshotModel

    from evertune.monitoring.frames import Tables

HTML, FIGURES, SNAPSHOT = "report.html", "report.json", "snapshot.json"
log = logging.getLogger("evertune")


def write(  # noqa: PLR0917 - what a window's verdict rests on
    window: Window,
    reference: Reference,
    traffic: Sample,
    labelled: Sample,
    findings: Sequence[Finding],
    out: Path,
    *,
    raised: Collection[Signal] = (),
    evidence: Evidence | None = None,
    explanation: Explanation | None = None,
) -> Path:
    """Write the report into the folder ``out`` and return the path of its HTML file.

    ``raised`` are the signals that raised the alert, empty where there is none. Where the folder holds the report of
    the very same verdict already, nothing is done.
    """
    told = _told(window, findings, raised, evidence, explanation, reference.lacks)
    if _is_there(out, told):
        return out / HTML
    snapshot, figures = _snapshot(window, reference.kept, traffic, labelled, findings, raised)
    with files.new_folder(out) as folder:
        files.write_json(folder / FIGURES, {**told, "evidently": _plain(figures)})
        files.write_text(folder / SNAPSHOT, _encoded(snapshot.dict()))
        files.write_text(folder / HTML, _html(window, told, snapshot))
    return out / HTML


def _told(  # noqa: PLR0917 - the fields of one record
    window: Window,
    findings: Sequence[Finding],
    raised: Collection[Signal],
    evidence: Evidence | None,
    explanation: Explanation | None,
    lacks: str,
) -> JsonObject:
    return {
        "window": window.model_dump(mode="json"),
        "findings": [one.model_dump(mode="json") for one in findings],
        "raised": sorted(signal.value for signal in raised),
        "evidence": evidence.model_dump(mode="json") if evidence else None,
        "explanation": explanation.model_dump(mode="json") if explanation else None,
        "lacks": lacks,
    }


def _is_there(out: Path, told: JsonObject) -> bool:
    try:
        files.verify(out)
        found = files.read_json(out / FIGURES)
    except (files.CorruptError, OSError):
        return False
    return bool(told == {name: found.get(name) for name in told})


def _snapshot(  # noqa: PLR0917 - the same
    window: Window,
    reference: Sample,
    traffic: Sample,
    labelled: Sample,
    findings: Sequence[Finding],
    raised: Collection[Signal],
) -> tuple[SnapshotModel, list[Any]]:
    """Evidently's results of all sections as one snapshot, and their figures."""
    os.environ.setdefault("DO_NOT_TRACK", "1")
    from evidently.core.serialization import ReportModel, SnapshotModel

    from evertune.monitoring import verdicts

    whole = SnapshotModel(
        report=ReportModel(items=[]),
        name=f"window {window.number}",
        timestamp=window.until,
        metadata={"generation": str(window.generation), "rows": str(window.rows)},
        tags=["alert"] if raised else [],
        metric_results={}, top_level_metrics=[], widgets=[], tests_widgets=[],
    )  # fmt: skip
    figures: list[Any] = []
    with verdicts.decided(findings, raised):
        for run in _sections(reference, traffic, labelled, findings):
            if (made := _made(run, window)) is not None:
                part = made.to_snapshot_model()
                for result in part.metric_results.values():
                    result.widget = []  # they are in `widgets` too, and the interface holds all of it in memory
                whole.metric_results |= part.metric_results
                whole.top_level_metrics += part.top_level_metrics
                whole.widgets += part.widgets
                figures += made.dict()["metrics"]
    return whole, figures


def _made(run: Callable[[], Any], window: Window) -> Any:
    """A section, or nothing: a picture that cannot be drawn of odd traffic must not stop the verdict on it."""
    try:
        return run()
    except Exception:
        log.warning(
            "a section of the report of window %s of %s is left out", window.number, window.project, exc_info=True
        )
        return None


def _sections(
    reference: Sample, traffic: Sample, labelled: Sample, findings: Sequence[Finding]
) -> Iterator[Callable[[], Any]]:
    from evidently import Report
    from evidently.presets import ClassificationPreset, DataSummaryPreset

    from evertune.monitoring import frames

    if not len(reference) or not len(traffic):
        return
    tables = frames.answers(reference, traffic)
    yield lambda: _run(Report(_signals(findings)), tables)
    yield lambda: _run(Report(_drifts(findings, tables)), tables)
    yield lambda: _run(Report([DataSummaryPreset()]), tables)
    if (quality := frames.labelled(reference, labelled)) is not None:
        yield lambda: _run(Report([ClassificationPreset()]), quality)


def _run(report: Any, tables: Tables) -> Any:
    return report.run(tables.traffic, tables.reference)


def _signals(findings: Sequence[Finding]) -> list[Any]:
    """A tile a signal, and the picture of the embeddings."""
    from evertune.monitoring.verdicts import Calibrated, EmbeddingPlane, SignalDrift

    tiles: list[Any] = [SignalDrift(signal=one.signal.value) for one in findings]
    if any(one.signal is Signal.EMBEDDING and one.rows for one in findings):
        tiles.append(EmbeddingPlane(drift_method=Calibrated()))
    return tiles


def _drifts(findings: Sequence[Finding], tables: Tables) -> list[Any]:
    """Answered labels and confidence, by our tests where these signals are watched, and each descriptor."""
    from evidently.metrics import ValueDrift

    from evertune.monitoring import descriptors, frames, verdicts

    watched = {one.signal for one in findings}
    looked_up = {Signal.LABEL_MIX: frames.PREDICTION, Signal.LOW_CONFIDENCE: frames.CONFIDENCE}
    return [
        *(
            ValueDrift(column=column, method=verdicts.method(signal) if signal in watched else verdicts.DISTANCE)
            for signal, column in looked_up.items()
        ),
        *(
            ValueDrift(column=name, method=verdicts.DISTANCE)
            for name in descriptors.NAMES
            if all(table.as_dataframe()[name].notna().any() for table in tables)
        ),
    ]


def _encoded(value: object) -> str:
    from evidently.legacy.utils import NumpyEncoder

    return json.dumps(value, cls=NumpyEncoder)


def _plain(value: object) -> Any:
    """The same as plain JSON; what is no number is ``None``."""
    return json.loads(_encoded(value), parse_constant=lambda _: None)


def _html(window: Window, told: JsonObject, snapshot: SnapshotModel) -> str:
    import evidently

    static = Path(evidently.__path__[0]) / "nbextension" / "static"
    framed = page.evidently_page(
        *_drawn(snapshot),
        library=(static / "index.js").read_text("utf-8"),
        font=base64.b64encode((static / "material-ui-icons.woff2").read_bytes()).decode(),
    )
    return page.page(f"{window.project}: window {window.number}", list(page.verdict(window, told)), framed)


def _drawn(snapshot: SnapshotModel) -> tuple[JsonObject, JsonObject]:
    """What Evidently's viewer takes: the widgets, and apart from them the pictures that it opens on demand."""
    graphs = {
        str(graph.id): _plain(_as_dict(graph))
        for widget in snapshot.widgets
        for graph in widget.get_additional_graphs()
    }
    group = {
        "type": "group",
        "title": "",
        "size": 2,
        "widgets": [_without_graphs(widget) for widget in snapshot.widgets],
    }
    return {"name": "Report", "widgets": [group]}, graphs


def _as_dict(graph: Any) -> Any:
    return graph.params if hasattr(graph, "params") and not hasattr(graph, "widgets") else graph.dict()


def _without_graphs(widget: Any) -> JsonObject:
    plain: JsonObject = _plain(widget.dict())
    plain.pop("additionalGraphs", None)
    return plain
