"""One project's traffic for `year.py`: drawn, tested, ruled on and answered as the monitor and the policy do it.

Only the ledger, the gate and the training are left out: a retrain without a drift changes nothing, since nothing is to
be gained, and one for a drift is a release whose reference is what `evertune.loop.reference` would make of the windows.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
from benchmarks import _drift_data

from evertune.loop.copies import without_copies
from evertune.monitoring import policy
from evertune.monitoring.budget import advance, crossed
from evertune.monitoring.detect import detect
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project.monitoring_options import Monitoring, Retraining
from evertune.project.row_options import Preparation
from evertune.records.traffic import Alert, AlertStatus, Evidence, Finding, Signal, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS, RETRAINING = Monitoring(), Retraining()
NEAR = Preparation().near_duplicates
PHRASES = 10
"""Texts that are sent again and again, and as many templates, which are sent with a word changed."""
CHANGED = 0.02
"""How far a changed word moves each number of an embedding, whose length is 1: neighbours at a cosine of 0.87."""


class Watch:
    """A release, what it is sent, and what comes of it."""

    def __init__(
        self, world: _drift_data.World, rng: np.random.Generator, rows: int, known: int, canned: float = 0.0,
        *, first: bool = False,
    ) -> None:  # fmt: skip
        order = rng.permutation(len(world.usual))
        self.new, self.rng, self.rows, self.canned = world.new, rng, rows, canned
        self.phrases = world.usual.take(order[: 2 * PHRASES])
        order = order[2 * PHRASES :]
        self.traffic = world.usual.take(order[known:])
        self.drawn = 0
        usual = world.usual.take(order[:known])
        self.reference = self._as_data_set(usual) if first else self._as_reference(usual)
        self.evidence, self.answered = Evidence(), dict[Signal, float]()
        self.alert: Alert | None = None
        self.since: list[tuple[Sample, tuple[Finding, ...]]] = []
        """Windows from the alert's on."""
        self.labels: set[str] = set()
        self.retrains: list[datetime] = []
        self.highest = 0.0

    def _as_data_set(self, usual: Sample) -> Reference:
        """Of a data set, as the first release's is: what comes again and again is in it once."""
        return Reference.of(without_copies(Sample.concat([usual, self.phrases]), NEAR))

    def _as_reference(self, usual: Sample) -> Reference:
        """Of windows like those to come, of other rows: without the copies in each."""
        each = self.rows - round(self.canned * self.rows)
        parts = [usual.take(np.arange(start, min(start + each, len(usual)))) for start in range(0, len(usual), each)]
        return Reference.of(Sample.concat([without_copies(self._with_phrases(part, 0), NEAR) for part in parts]))

    def draw(self, share: float) -> Sample:
        """A window's answers, ``share`` of them new."""
        fresh = round(share * self.rows)
        usual = self.rows - fresh - round(self.canned * self.rows)
        found = self.traffic.take(self.rng.choice(len(self.traffic), usual, replace=False))
        return self._with_phrases(found, fresh)

    def _with_phrases(self, usual: Sample, fresh: int) -> Sample:
        new = self.new.take(self.rng.choice(len(self.new), fresh, replace=False))
        count = round(self.canned * self.rows)
        copies = self.phrases.take(self.rng.integers(0, PHRASES, count // 2))
        drawn = self.phrases.take(self.rng.integers(PHRASES, 2 * PHRASES, count - len(copies)))
        moved = drawn.embeddings + self.rng.normal(0, CHANGED, drawn.embeddings.shape).astype(np.float32)
        changed = replace(
            drawn, embeddings=moved, texts=[f"{text} {self.drawn}/{n}" for n, text in enumerate(drawn.texts)]
        )
        self.drawn += 1
        found = Sample.concat([usual, new, copies, changed])
        return replace(found, ids=[f"{self.drawn}/{place}" for place in range(len(found))])

    def step(self, number: int, hours: float, share: float = 0.0) -> tuple[bool, bool]:
        """One window: whether it raised a new alert, and whether a retrain was asked for."""
        traffic, until = self.draw(share), START + timedelta(hours=hours * number)
        labelled = traffic.take(self.rng.choice(self.rows, self.rows // 5, replace=False)).labelled
        sides = without_copies(traffic, NEAR), without_copies(labelled, NEAR)
        findings = detect(self.reference, *sides, OPTIONS.signals, number)
        self.evidence = advance(self.evidence, findings, _window(until, hours, self.rows), OPTIONS)
        self.highest = max(self.highest, self.evidence.total)
        raised = crossed(self.evidence, findings, self.answered)
        alerts = bool(raised) and self.alert is None
        if raised:
            before = self.alert or _alert(number, self.rows, until)
            self.alert = before.model_copy(update={"signals": tuple(dict.fromkeys([*before.signals, *raised]))})
        if self.alert is not None:
            self.since.append((traffic, findings))
            self.labels.update(labelled.texts)
        return alerts, self._retrains(until)

    def _retrains(self, now: datetime) -> bool:
        if self.alert is None:
            return False
        labels = len(self.labels)
        facts = policy.Facts(labels, labels * RETRAINING.judged_share, self.retrains)
        alert = self.alert.model_copy(update={"rows": len(self.since) * self.rows})
        if not policy.decide(alert, facts, OPTIONS.policy, RETRAINING, now).retrain:
            return False
        self.retrains.insert(0, now)
        return True

    def keep(self) -> None:
        """The retrain was no better: the release stays, and the alert is answered."""
        assert self.alert is not None
        for one in (finding for _, findings in self.since for finding in findings):
            if one.signal in self.alert.signals or one.e > 1:
                self.answered[one.signal] = max(self.answered.get(one.signal, 0.0), one.effect)
        self._begin_anew()

    def release(self) -> None:
        """The retrain was better: what answers now knows the windows since the alert, and nothing else."""
        windows = [without_copies(traffic, NEAR) for traffic, _ in self.since]
        later = windows[1:] if sum(map(len, windows[1:])) >= len(windows[0]) else windows
        self.reference, self.answered = Reference.of(Sample.concat(later)), {}
        self._begin_anew()

    def _begin_anew(self) -> None:
        self.evidence = Evidence(until=self.evidence.until)
        self.alert, self.since, self.labels = None, [], set()


def _alert(number: int, rows: int, created: datetime) -> Alert:
    return Alert(
        project="year", key=f"drift-1-{number}", generation=1, window=number, signals=(), rows=rows,
        status=AlertStatus.OPEN, ruling="", created=created,
    )  # fmt: skip


def _window(until: datetime, hours: float, rows: int) -> Window:
    since = until - timedelta(hours=hours)
    return Window(
        project="year", number=1, generation=1, rows=rows, parts=(), since=since, until=until, labels_until=until,
        created=until,
    )  # fmt: skip
