"""What Prometheus reads at ``/metrics``. The dashboard in ``deploy/grafana`` draws them.

Counters are kept as the requests go by; what is a state (releases, quality, queue) is looked up when it is asked for.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, GCCollector, Histogram, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.exposition import generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

if TYPE_CHECKING:
    from evertune.serving.engine.answers import Prediction
    from evertune.serving.engine.served import Served
    from evertune.serving.http.service import Service
    from evertune.serving.log import Feedback

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_GENERATIONS = 2
"""Generations of a project whose answers are counted: the one that answers now, and the last one's to their end."""
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS = (32, 64, 128, 256, 512, 1024, 2048, 4096)


class Meters:
    """Counters and histograms, in a registry of their own. Safe in threads, but for :meth:`answered`."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        for collector in (ProcessCollector, PlatformCollector, GCCollector):
            collector(registry=self.registry)
        self._requests = self._counter("evertune_http_requests", "Requests answered", "route", "method", "status")
        self._seconds = self._histogram("evertune_http_request_seconds", "From first byte to last", _SECONDS, "route")
        self._refused = self._counter("evertune_refused", "Requests refused to keep the server well", "reason")
        self._answers = self._counter(
            "evertune_predictions", "Texts answered", "project", "generation", "label"
        )  # fmt: skip
        self._cut = self._counter("evertune_predictions_cut", "Texts longer than the model takes", "project")
        self._unlogged = self._counter("evertune_predictions_unlogged", "Answers that are not in the log", "project")
        self._feedback = self._counter("evertune_feedback", "Feedback taken", "project", "kind")
        self._rows = self._histogram("evertune_batch_rows", "Texts the model ran at once", _ROWS)
        self._tokens = self._histogram("evertune_batch_tokens", "Tokens the model ran at once", _TOKENS)
        self._engine = self._histogram("evertune_batch_seconds", "What the model took for a batch", _SECONDS)
        self._seen: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._labels: dict[str, dict[int, dict[str, Counter]]] = {}
        """Project → generation → label → its counter."""

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(name, what, labels, registry=self.registry)

    def _histogram(self, name: str, what: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, what, labels, buckets=buckets, registry=self.registry)

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """One answer went out. ``route`` is the path's template, never the path: that would be without bound."""
        key = (route, method, status)
        if (found := self._seen.get(key)) is None:
            found = self._requests.labels(route, method, str(status)), self._seconds.labels(route)
            self._seen[key] = found
        found[0].inc()
        found[1].observe(seconds)

    def answered(self, served: Served, predictions: Iterable[Prediction]) -> None:
        """Texts were answered. Called by the loop's thread, which also reads."""
        release = served.release
        counters = self._of_generation(release.project, release.generation)
        for one in predictions:
            if (counter := counters.get(one.label)) is None:
                counter = self._answers.labels(release.project, str(release.generation), one.label)
                counters[one.label] = counter
            counter.inc()
            if one.cut:
                self._cut.labels(release.project).inc()

    def _of_generation(self, project: str, generation: int) -> dict[str, Counter]:
        """The generation's counters. A new one's first answer ends the series of those before the last.

        Else a server that goes on for years tells some for each release that there ever was.
        """
        known = self._labels.setdefault(project, {})
        if generation not in known:
            known[generation] = {}
            for old in sorted(known)[:-_GENERATIONS]:
                if old != generation:  # a request may end long behind its release
                    for label in known.pop(old):
                        self._answers.remove(project, str(old), label)
        return known[generation]

    def unlogged(self, project: str, texts: int) -> None:
        """Answers were given that the log has not."""
        self._unlogged.labels(project).inc(texts)

    def refused(self, reason: str) -> None:
        """A request was refused to keep the server well."""
        self._refused.labels(reason).inc()

    def feedback(self, said: Feedback) -> None:
        """Feedback was taken."""
        for kind in ("truth", "correction", "thumbs", "comment"):
            if getattr(said, kind) is not None:
                self._feedback.labels(said.project, kind).inc()

    def batch(self, rows: int, tokens: int, seconds: float) -> None:
        """The model ran once. Called by the engine's thread."""
        self._rows.observe(rows)
        self._tokens.observe(tokens)
        self._engine.observe(seconds)

    def exposition(self) -> bytes:
        """All of it as text."""
        return generate_latest(self.registry)


class State(Collector):
    """Releases, refusals, quality, latency and queue as they are when asked for."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def describe(self) -> list[Metric]:
        """Nothing is asked when this is registered: what there is depends on the moment."""
        return []

    def collect(self) -> Iterator[Metric]:
        """The families, one after the other."""
        yield from self._releases()
        yield from self._quality()
        yield from self._traffic()
        yield from self._log()
        yield _gauge("evertune_queue_texts", "Texts waiting for the engine", [], [([], self._service.batcher.depth)])
        yield _gauge("evertune_closing", "1 while the server goes down", [], [([], self._service.closing)])

    def _releases(self) -> Iterator[Metric]:
        served = [one for slug in sorted(self._service.live.projects()) if (one := self._service.live.get(slug))]
        yield _gauge(
            "evertune_release_generation", "The generation that answers", ["project"],
            [([one.release.project], one.release.generation) for one in served],
        )  # fmt: skip
        yield _gauge(
            "evertune_release_info", "What answers", ["project", "generation", "model_version", "digest", "engine"],
            [
                ([one.release.project, str(one.release.generation), str(one.release.model_version),
                  one.release.digest[:12], one.engine.kind], 1)
                for one in served
            ],
        )  # fmt: skip
        yield _gauge(
            "evertune_release_refused_generation", "A newer generation that is not fit to answer", ["project"],
            [([slug], refusal.generation) for slug, refusal in sorted(self._service.live.refused.items())],
        )  # fmt: skip
        yield _gauge(
            "evertune_ledger_readable", "0 while newer releases cannot be seen", [],
            [([], self._service.live.away is None)],
        )  # fmt: skip

    def _quality(self) -> Iterator[Metric]:
        now = datetime.now(UTC)
        rolling = [
            (slug, str(generation), scores)
            for slug in sorted(self._service.live.projects())
            for generation, scores in self._service.quality.now(slug, now).items()
        ]
        for name in ("accuracy", "precision", "recall", "f1", "labelled"):
            yield _gauge(
                f"evertune_quality_{name}", f"Rolling {name} from feedback, by release", ["project", "generation"],
                [([slug, generation], getattr(scores, name)) for slug, generation, scores in rolling],
            )  # fmt: skip

    def _traffic(self) -> Iterator[Metric]:
        slugs = sorted(self._service.live.projects())
        traffic = self._service.traffic
        yield _gauge(
            "evertune_predict_quantile_seconds", "Latency of predictions in the last 5 minutes",
            ["project", "quantile"],
            [
                ([slug, str(share)], seconds)
                for slug in slugs
                for share in (0.5, 0.9, 0.99)
                if (seconds := traffic.quantile_s(slug, share)) is not None
            ],
        )  # fmt: skip
        yield _gauge(
            "evertune_requests_per_minute", "Predict requests in the last minute", ["project"],
            [([slug], traffic.per_minute(slug)) for slug in slugs],
        )  # fmt: skip

    def _log(self) -> Iterator[Metric]:
        counts = self._service.log.counts
        for name, what in (
            ("records", "Answers and feedback that are on the disk"),
            ("commits", "Times that the disk was waited for; many records share one"),
            ("failures", "Records that could not be logged"),
        ):
            yield CounterMetricFamily(f"evertune_log_{name}", what, value=getattr(counts, name))


def _gauge(
    name: str, what: str, labels: Sequence[str], values: Iterable[tuple[Sequence[str], float]]
) -> GaugeMetricFamily:  # fmt: skip
    family = GaugeMetricFamily(name, what, labels=labels)
    for names, value in values:
        family.add_metric(names, float(value))
    return family
