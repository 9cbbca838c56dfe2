"""Our findings as drift methods of Evidently, so that its report says what the decision says.

Evidently's own methods have no control of false alarms, and its embedding drift draws a t-SNE that takes 13 s. Here a
method looks its finding up instead of testing again, "drift detected" means that the signal raised the alert, and the
picture of the embeddings is a projection on their two main directions.

Imported only by :mod:`.report`, inside a function: Evidently takes seconds.
"""

from __future__ import annotations

import contextlib
from collections.abc import Collection, Iterator, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import pandas as pd  # noqa: TID253 - see above
from evidently import ColumnType, Dataset  # noqa: TID253
from evidently.core.metric_types import SingleValue, SingleValueCalculation, SingleValueMetric  # noqa: TID253
from evidently.core.report import Context  # noqa: TID253
from evidently.legacy.calculations.stattests import StatTest, register_stattest  # noqa: TID253
from evidently.legacy.metrics.data_drift.embedding_drift_methods import DriftMethod  # noqa: TID253
from evidently.legacy.renderers.html_widgets import (  # noqa: TID253
    CounterData,
    WidgetSize,
    counter,
    plotly_figure,
)
from evidently.pydantic_utils import autoregister  # noqa: TID253
from plotly import graph_objects as go  # type: ignore[import-untyped]

from evertune.monitoring.explain import CHANCE, SMALLEST_DISTANCE, distance
from evertune.records.traffic import Finding, Signal

PLANE = ("embedding_1", "embedding_2")
"""Columns with the embeddings' two main directions."""
DISTANCE = "evertune_distance"
"""Method for what no signal watches: a gap between distributions that is large, and more than chance gives."""


class Verdicts(NamedTuple):
    """What was decided, for the methods to look up."""

    findings: dict[Signal, Finding]
    raised: frozenset[Signal]


_verdicts: ContextVar[Verdicts] = ContextVar("verdicts")


@contextlib.contextmanager
def decided(findings: Sequence[Finding], raised: Collection[Signal]) -> Iterator[None]:
    """Within the block, reports show these findings."""
    token = _verdicts.set(Verdicts({one.signal: one for one in findings}, frozenset(raised)))
    try:
        yield
    finally:
        _verdicts.reset(token)


def method(signal: Signal) -> str:
    """Name under which Evidently knows the signal's test."""
    return f"evertune_{signal.value}"


def _looked_up(signal: Signal, kind: ColumnType) -> None:
    def verdict(_: pd.Series, __: pd.Series, ___: ColumnType, ____: float) -> tuple[float, bool]:
        decided = _verdicts.get()
        return decided.findings[signal].p, signal in decided.raised

    register_stattest(StatTest(method(signal), f"evertune's p of {signal.value}", [kind]), verdict)


def _far(reference: pd.Series, current: pd.Series, kind: ColumnType, smallest: float) -> tuple[float, bool]:
    if kind is ColumnType.Categorical:
        gap, p = _shares_apart(reference, current)
    else:
        gap, p = distance(reference.to_numpy(float), current.to_numpy(float))
    return gap, gap >= smallest and p <= CHANCE


def _shares_apart(reference: pd.Series, current: pd.Series) -> tuple[float, float]:
    """Total variation distance, and the chance of one as large (chi-squared)."""
    from scipy import stats

    counts = pd.concat([side.value_counts() for side in (reference, current)], axis=1).fillna(0).to_numpy()
    shares = counts / counts.sum(axis=0)
    return float(abs(shares[:, 0] - shares[:, 1]).sum() / 2), float(stats.chi2_contingency(counts).pvalue)


_looked_up(Signal.LABEL_MIX, ColumnType.Categorical)
_looked_up(Signal.LOW_CONFIDENCE, ColumnType.Numerical)
register_stattest(
    StatTest(
        DISTANCE,
        "largest gap between the distributions",
        [ColumnType.Numerical, ColumnType.Categorical],
        SMALLEST_DISTANCE,
    ),
    _far,
)


@autoregister
class Calibrated(DriftMethod):  # type: ignore[misc]  # Evidently is not typed here
    """The embedding signal's finding as one of Evidently's methods for embeddings; score is the share concerned."""

    class Config:
        """Evidently's name for it."""

        type_alias = "evidently:drift_method:EvertuneCalibrated"

    def __call__(self, current_emb: pd.DataFrame, reference_emb: pd.DataFrame) -> tuple[float, bool, str]:  # noqa: ARG002 - Evidently's interface
        """Score, whether that is drift, and the method's name."""
        findings, raised = _verdicts.get()
        finding = findings[Signal.EMBEDDING]
        return finding.effect, Signal.EMBEDDING in raised, f"calibrated two-sample test, p = {finding.p:.2g}"


class SignalDrift(SingleValueMetric):  # type: ignore[misc]
    """One signal's effect in this window. Has no parameter but the name, or dashboards would draw no line."""

    signal: str


class SignalDriftCalculation(SingleValueCalculation[SignalDrift]):  # type: ignore[misc]
    """Shows what was found; computes nothing."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:  # noqa: ARG002 - Evidently's interface
        """The effect, and a tile that says what it rests on."""
        findings, raised = _verdicts.get()
        one = findings[Signal(self.metric.signal)]
        said = "raised the alert" if one.signal in raised else "raised no alert"
        tested = f"p = {one.p:.2g}, evidence {one.e:.3g}, {one.rows:,} rows" if one.rows else "not tested"
        label = f"{one.signal.value}: {said} ({tested}; smallest effect that matters {one.smallest:g})"
        result = self.result(one.effect)
        result.widget = [counter(counters=[CounterData(label, f"{one.effect:.3f}")], size=WidgetSize.HALF)]
        return result

    def display_name(self) -> str:
        """Name in the report and in dashboards."""
        return f"Effect of the signal {self.metric.signal}"


class EmbeddingPlane(SingleValueMetric):  # type: ignore[misc]
    """Drift of the embeddings by the given method, with a picture."""

    drift_method: DriftMethod


class EmbeddingPlaneCalculation(SingleValueCalculation[EmbeddingPlane]):  # type: ignore[misc]
    """Like Evidently's ``EmbeddingsDrift``, with two main directions in place of a t-SNE."""

    def calculate(self, context: Context, current_data: Dataset, reference_data: Dataset | None) -> SingleValue:  # noqa: ARG002 - Evidently's interface
        """The method's score; drift only where the method says so."""
        assert reference_data is not None  # noqa: S101 - a report of a window always has one
        now, before = (data.as_dataframe()[list(PLANE)] for data in (current_data, reference_data))
        score, drifted, name = self.metric.drift_method(now, before)
        result = self.result(score)
        told = f"Drift in embeddings {'detected' if drifted else 'not detected'}: {name}"
        result.widget = [
            counter(counters=[CounterData(told, f"{score:.3f}")]),
            plotly_figure(title="Embeddings on their two main directions", figure=_plane(before, now)),
        ]
        return result

    def display_name(self) -> str:
        """Name in the report and in dashboards."""
        return "Share of the traffic unlike the reference, by embeddings"


def _plane(before: pd.DataFrame, now: pd.DataFrame) -> Any:
    figure = go.Figure()
    for name, rows, colour in (("reference", before, "#9aa0a6"), ("traffic", now, "#ed0400")):
        shown = rows.sample(min(1000, len(rows)), random_state=0).round(4)
        marker = {"size": 4, "opacity": 0.5, "color": colour}
        figure.add_trace(
            go.Scatter(x=shown[PLANE[0]].tolist(), y=shown[PLANE[1]].tolist(), mode="markers", name=name, marker=marker)
        )
    return figure
