"""Training progress in MLflow while it runs, without the training ever waiting for MLflow."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from evertune.releases.mlflow import unsent
from evertune.releases.mlflow.store import Point, connect
from evertune.releases.mlflow.system import system_metrics
from evertune.settings import Settings

_log = logging.getLogger(__name__)
_FLUSH_S = 5.0
_SYSTEM_S = 10.0
_TIMEOUT_S = 5.0
_LONGEST_PAUSE_S = 60.0


class Live:
    """A sink for metrics: ``live(step, {"loss": 0.7})`` only puts them aside; a thread sends them every 5 s.

    Where MLflow is away or hangs, they go to a file (:mod:`.unsent`), which this thread, or the next call about this
    run, delivers. Nothing that MLflow does raises here. System metrics are added every 10 s. Use it as a context
    manager, or call :meth:`close`.
    """

    def __init__(
        self, settings: Settings, run_id: str, *, flush_s: float = _FLUSH_S, system_s: float = _SYSTEM_S
    ) -> None:
        self._settings, self._run_id = settings, run_id
        self._flush_s, self._system_s = flush_s, system_s
        self._points: list[Point] = []
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="mlflow-live", daemon=True)
        self._thread.start()

    def __call__(self, step: int, metrics: Mapping[str, float | None]) -> None:
        """Put the metrics aside, to be sent; those that are ``None`` are left out."""
        now = int(time.time() * 1000)
        points = [Point(key, float(value), now, step) for key, value in metrics.items() if value is not None]
        with self._lock:
            self._points.extend(points)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self, timeout_s: float = 20.0) -> None:
        """Send what is left, for ``timeout_s`` at most; the rest is kept in the file."""
        self._ended.set()
        self._thread.join(timeout_s)
        self._keep()  # a thread that hangs has kept what it took before it began to send

    def _run(self) -> None:
        _measure()  # a processor's load is told since the measurement before
        system_at, send_at, pause_s, sample = time.monotonic(), 0.0, self._flush_s, 0
        ended = False
        while not ended:
            ended = self._ended.wait(self._flush_s)
            if time.monotonic() >= system_at:
                self(sample, _measure())
                system_at, sample = system_at + self._system_s, sample + 1
            self._keep()
            if time.monotonic() < send_at and not ended:
                continue
            pause_s = self._flush_s if self._deliver() else min(2 * pause_s, _LONGEST_PAUSE_S)
            send_at = time.monotonic() + pause_s

    def _keep(self) -> None:
        """Move what was put aside into the file: from here on it survives this process."""
        with self._lock:
            points, self._points = self._points, []
        try:
            if points:
                unsent.keep(self._settings, self._run_id, points)
        except OSError as fault:  # a full disk: the points are lost, the training is not
            _log.warning("Metrics lost: %s", fault)

    def _deliver(self) -> bool:
        """Send the file; whether that worked."""
        try:
            unsent.deliver(self._settings, connect(self._settings, _TIMEOUT_S), self._run_id)
        except Exception as fault:  # noqa: BLE001 - whatever MLflow does, the training goes on
            _log.warning("MLflow takes no metrics for now, they are kept: %s", fault)
            return False
        return True


def _measure() -> dict[str, float]:
    try:
        return system_metrics()
    except Exception as fault:  # noqa: BLE001 - a machine that cannot be measured must not end the training
        _log.warning("No system metrics: %s", fault)
        return {}
