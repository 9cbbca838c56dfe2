"""Reports by the real Evidently: what they say is what was decided, and they are safe to open."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tests.monitoring.made_samples import LABELS, WIDTH, findings, sample, window

from evertune import files
from evertune.monitoring import explain, report, workspace
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.records.traffic import Evidence, Signal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.filterwarnings("ignore"),  # Evidently's libraries warn of one another
]
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PAYLOAD = " </script><script>document.title='owned'</script><img src=x onerror=\"document.title='owned'\">"


@pytest.fixture(scope="module")
def reference() -> Reference:
    return Reference.of(sample(1000, seed=1))


def figures(folder: Path) -> dict[str, Any]:
    files.verify(folder)
    told: dict[str, Any] = json.loads((folder / report.FIGURES).read_text("utf-8"))
    return told


def metric(told: dict[str, Any], name: str) -> Any:
    return next(one["value"] for one in told["evidently"] if one["metric_name"].startswith(name))


def tiles(folder: Path) -> list[str]:
    snapshot = json.loads((folder / report.SNAPSHOT).read_text("utf-8"))
    return [
        counter["label"] for widget in snapshot["widgets"] for counter in (widget["params"] or {}).get("counters", [])
    ]


def test_the_report_says_what_was_decided(reference: Reference, tmp_path: Path) -> None:
    traffic = sample(300, odd=0.3, seed=2)
    given = findings(0.31, 1e-7)
    raised = [Signal.EMBEDDING, Signal.LABEL_MIX]
    found = explain.explain(reference, traffic, given)
    path = report.write(
        window(300), reference, traffic, traffic.take(np.arange(80)), given, tmp_path / "r",
        raised=raised, evidence=Evidence(total=3.5), explanation=found,
    )  # fmt: skip

    told = figures(path.parent)
    assert told["raised"] == ["embedding", "label_mix"]
    assert metric(told, "SignalDrift(signal=embedding)") == metric(told, "EmbeddingPlane") == 0.31
    assert metric(told, "ValueDrift(column=prediction,method=evertune_label_mix") == 1e-7
    assert metric(told, "ValueDrift(column=words") > 0.2
    assert metric(told, "RowCount") == 300
    assert any(one["metric_name"].startswith("F1Score") for one in told["evidently"])
    said = " ".join(tiles(path.parent))
    assert "Drift in embeddings detected" in said
    assert "embedding: raised the alert (p = 1e-07" in said
    assert "f1: raised no alert" in said
    assert "Data drift detected. Drift detection method: evertune's p of label_mix" in said
    assert "Data drift not detected. Drift detection method: evertune's p of low_confidence" in said
    shown = path.read_text("utf-8")
    assert "Alert: embedding, label_mix." in shown
    assert html.escape(found.clusters[0].examples[0]) in shown


def test_what_no_signal_watches_is_shown_all_the_same(reference: Reference, tmp_path: Path) -> None:
    """Signals that are `null` in the project file decide nothing; people still see the labels and the confidence."""
    some = [one for one in findings(0.1, 0.5) if one.signal not in (Signal.LABEL_MIX, Signal.LOW_CONFIDENCE)]
    traffic = sample(300, odd=0.6, seed=2)
    one_label = replace(traffic, scores=np.tile([0.9, 0.1], (300, 1)))
    told = figures(report.write(window(300), reference, one_label, sample(0), some, tmp_path / "r").parent)
    assert metric(told, "ValueDrift(column=prediction,method=evertune_distance") > 0.3
    assert metric(told, "ValueDrift(column=confidence,method=evertune_distance") > 0.3
    assert "Data drift detected. Drift detection method: largest gap" in " ".join(tiles(tmp_path / "r"))


def test_without_an_alert_no_signal_is_called_drift_however_small_its_p(reference: Reference, tmp_path: Path) -> None:
    path = report.write(window(200), reference, sample(200), sample(0), findings(0.5, 1e-12), tmp_path / "r")
    said = " ".join(tiles(path.parent))
    assert "Drift in embeddings not detected" in said
    assert "Data drift detected. Drift detection method: evertune" not in said
    assert "No alert." in path.read_text("utf-8")


def test_no_text_is_in_what_evidently_stores(reference: Reference, tmp_path: Path) -> None:
    traffic = sample(200, odd=0.4, seed=3, ending=" unmistakable")
    found = explain.explain(reference, traffic, findings(0.3, 1e-9))
    path = report.write(
        window(200), reference, traffic, sample(0), findings(0.3, 1e-9), tmp_path / "r", explanation=found
    )
    assert "unmistakable" not in (path.parent / report.SNAPSHOT).read_text("utf-8")
    assert "unmistakable" in path.read_text("utf-8"), "people see the redacted examples"


def test_a_report_is_written_once_and_again_where_it_is_torn(reference: Reference, tmp_path: Path) -> None:
    given = (window(100), reference, sample(100), sample(0), findings(0.1, 0.5), tmp_path / "r")
    path = report.write(*given)
    first = path.stat().st_mtime_ns
    assert report.write(*given).stat().st_mtime_ns == first
    assert report.write(*given, raised=[Signal.F1]).stat().st_mtime_ns != first, "another verdict is another report"
    path.write_text("torn")
    assert "Evidently" in report.write(*given, raised=[Signal.F1]).read_text("utf-8")


def test_what_the_reference_lacks_is_told(reference: Reference, tmp_path: Path) -> None:
    known = replace(reference, lacks="Windows 1 to 2 are gone.")
    given = (window(100), known, sample(100), sample(0), findings(0.1, 0.5), tmp_path / "r")
    assert "<p>Windows 1 to 2 are gone.</p>" in report.write(*given).read_text("utf-8")


def odd_windows() -> Iterator[tuple[str, Sample]]:
    yield "empty", Sample.empty(WIDTH, LABELS)
    yield "one row", sample(1)
    yield (
        "all the same",
        replace(
            sample(40), texts=["same"] * 40, embeddings=np.ones((40, WIDTH), np.float32), scores=np.full((40, 2), 0.5)
        ),
    )
    yield "no embeddings", replace(sample(40), embeddings=np.full((40, WIDTH), np.nan, np.float32))
    yield "no words", replace(sample(40), texts=[""] * 40)


@pytest.mark.parametrize(("name", "traffic"), odd_windows())
def test_an_odd_window_has_a_report(
    reference: Reference, tmp_path: Path, name: str, traffic: Sample, caplog: pytest.LogCaptureFixture
) -> None:
    path = report.write(window(len(traffic)), reference, traffic, traffic, findings(0.0, 1.0, rows=0), tmp_path / "r")
    workspace.add(tmp_path / "workspace", window(len(traffic)), path.parent)
    assert "No alert." in path.read_text("utf-8")
    assert not [record for record in caplog.records if record.name == "evertune"]


def test_a_section_that_fails_is_left_out_and_the_rest_stays(
    reference: Reference, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("evidently.presets.ClassificationPreset.metrics", lambda *_: 1 / 0)
    traffic = sample(100)
    told = figures(report.write(window(100), reference, traffic, traffic, findings(0.1, 0.5), tmp_path / "r").parent)
    assert metric(told, "RowCount") == 100
    assert "a section of the report of window 1 of reviews is left out" in caplog.text


def test_many_labels_and_a_label_without_rows(tmp_path: Path) -> None:
    labels = tuple(f"label {number}" for number in range(77))
    rng = np.random.default_rng(0)
    scores = rng.dirichlet(np.ones(77), 400)
    made = replace(sample(400), labels=labels, scores=scores, truth=rng.integers(0, 70, 400))
    path = report.write(
        window(400), Reference.of(made), made.take(np.arange(50)), made, findings(0.1, 0.5), tmp_path / "r"
    )
    assert any(one["metric_name"].startswith("F1Score") for one in figures(path.parent)["evidently"])


def test_a_window_takes_a_few_seconds_beside_the_import(tmp_path: Path) -> None:
    known, traffic = Reference.of(sample(2000, seed=1)), sample(500, odd=0.2, seed=2)
    report.write(window(500), known, traffic, traffic, findings(0.2, 0.1), tmp_path / "warm")
    unit = _seconds_of_a_million_steps()
    start = time.process_time()
    found = explain.explain(known, traffic, findings(0.2, 0.1))
    report.write(window(500), known, traffic, traffic, findings(0.2, 0.1), tmp_path / "r", explanation=found)
    assert time.process_time() - start < 24 * unit  # found: 6 units, which here were three seconds


def _seconds_of_a_million_steps() -> float:
    """How fast this machine is, so that a slow one is not taken for slow code."""
    start = time.process_time()
    for _ in range(1_000_000):
        len(str(start))
    return time.process_time() - start


@pytest.mark.browser
@pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")
def test_payloads_in_texts_and_labels_do_not_run(tmp_path: Path) -> None:
    labels = ("negative", f"positive{PAYLOAD}")
    known = Reference.of(sample(300, labels=labels, seed=1))
    traffic = sample(200, odd=0.5, labels=labels, seed=2, ending=PAYLOAD)
    found = explain.explain(known, traffic, findings(0.3, 1e-9))
    path = report.write(window(200), known, traffic, traffic, findings(0.3, 1e-9), tmp_path / "r", explanation=found)
    inner = tmp_path / "inner.html"
    (framed,) = re.findall(r'srcdoc="(.*?)"></iframe>', path.read_text("utf-8"), re.S)
    inner.write_text(html.unescape(framed), "utf-8")

    around, within = _dom(path, tmp_path / "one"), _dom(inner, tmp_path / "two")

    assert "<title>reviews: window 1</title>" in around
    assert "owned</title>" not in around
    assert "embedding: raised no alert" in within, "Evidently's viewer has drawn it"
    assert "owned</title>" not in within


def _dom(path: Path, profile: Path) -> str:
    command = [
        str(CHROMIUM), "--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=10000",
        f"--user-data-dir={profile}", "--dump-dom", path.as_uri(),
    ]  # fmt: skip
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=120).stdout
