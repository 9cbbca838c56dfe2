"""A year of windows, watched as `evertune monitor` does: how often an alert comes without a drift, how late with one.

Real texts, embedded by MiniLM and answered by a classifier (see `_drift_data.py`), are drawn anew for each window. Each
year has a reference of its own, the same for all its windows; a fifth of the answers are labelled.

* without a drift: alerts a year; at most 1 is allowed (`false_alerts_per_year`);
* with a drift once a month: windows until the alert, months without one (missed), and alerts that follow in the same
  month after the answer, when the reference knows the drifted window in traffic's proportion (doubled).

Run it: `python -m benchmarks.year` (`--years 1 --months 2` for a glance, `--banking FOLDER` for Banking77 instead).
"""

from __future__ import annotations

import argparse
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
from benchmarks import _drift_data, _machine

from evertune import settings
from evertune.monitoring.budget import advance, crossed
from evertune.monitoring.detect import detect
from evertune.monitoring.reference import Reference
from evertune.monitoring.samples import Sample
from evertune.project.monitoring_options import Monitoring
from evertune.records.traffic import Evidence, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = Monitoring()


class Watch:
    """One release's traffic."""

    def __init__(self, world: _drift_data.World, rng: np.random.Generator, rows: int, known: int) -> None:
        order = rng.permutation(len(world.usual))
        self.known, self.traffic = world.usual.take(order[:known]), world.usual.take(order[known:])
        self.new, self.rng, self.rows = world.new, rng, rows
        self.reference, self.evidence = Reference.of(self.known), Evidence()
        self.highest, self.signals = 0.0, tuple[str, ...]()

    def draw(self, share: float) -> Sample:
        """A window's answers, some of them new."""
        fresh = round(share * self.rows)
        usual = self.traffic.take(self.rng.choice(len(self.traffic), self.rows - fresh, replace=False))
        return Sample.concat([usual, self.new.take(self.rng.choice(len(self.new), fresh, replace=False))])

    def step(self, number: int, hours: float, share: float = 0.0) -> Sample | None:
        """One window; its answers where it raised an alert."""
        traffic, until = self.draw(share), START + timedelta(hours=hours * number)
        labelled = traffic.take(self.rng.choice(self.rows, self.rows // 5, replace=False)).labelled
        findings = detect(self.reference, traffic, labelled, OPTIONS.signals, number)
        self.evidence = advance(self.evidence, findings, _window(until, hours, self.rows), OPTIONS)
        self.highest = max(self.highest, self.evidence.total)
        raised = crossed(self.evidence, findings)
        self.signals += tuple(signal.value for signal in raised)
        return traffic if raised else None

    def answer(self, drifted: Sample) -> None:
        """A release that knows the window, in its proportion of new rows."""
        self.reference = Reference.of(self.draw_like(drifted))
        self.evidence = Evidence()

    def draw_like(self, drifted: Sample) -> Sample:
        """Rows as many as the reference had, new ones in the window's proportion."""
        texts = set(self.new.texts)
        share = float(np.mean([text in texts for text in drifted.texts]))
        fresh = min(round(share * len(self.known)), len(self.new) // 2)
        new = self.new.take(self.rng.choice(len(self.new), fresh, replace=False))
        return Sample.concat([self.known.take(np.arange(len(self.known) - fresh)), new])


def _window(until: datetime, hours: float, rows: int) -> Window:
    since = until - timedelta(hours=hours)
    return Window(
        project="year", number=1, generation=1, rows=rows, parts=(), since=since, until=until, labels_until=until,
        created=until,
    )  # fmt: skip


def quiet_year(watch: Watch, days: int, hours: float) -> int:
    """Alerts in so many days without a drift; each is answered by a release that knows no more."""
    alerts = 0
    for number in range(1, int(days * 24 / hours) + 1):
        if watch.step(number, hours) is not None:
            alerts, watch.evidence = alerts + 1, Evidence()
    return alerts


def month(watch: Watch, share: float, hours: float) -> tuple[int | None, int, int]:
    """Windows from the drift in mid-month to its alert (None: missed), false alerts before, and doubled ones after."""
    each = int(15 * 24 / hours)
    early = sum(watch.step(number, hours) is not None for number in range(1, each + 1))
    delay, doubled = None, 0
    for number in range(each + 1, 2 * each + 1):
        drifted = watch.step(number, hours, share)
        if drifted is not None and delay is None:
            delay = number - each
            watch.answer(drifted)
        elif drifted is not None:
            doubled += 1
    return delay, early, doubled


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--years", type=int, default=5, help="without a drift, each with another reference")
    options.add_argument("--months", type=int, default=12, help="with a drift of each size")
    options.add_argument("--days", type=int, default=365, help="of a year")
    options.add_argument("--rows", type=int, default=500, help="answers of a window")
    options.add_argument("--hours", type=float, default=24.0, help="between windows")
    options.add_argument("--reference", type=int, nargs="*", default=[500, 2_000], help="rows of the reference")
    options.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.2, 0.5], help="of a window that is new")
    options.add_argument("--banking", type=Path, help="folder of Banking77: train.csv and test.csv")
    options.add_argument("--seed", type=int, default=17)
    given, start = options.parse_args(), time.perf_counter()
    home = settings.load().home
    world = _drift_data.intents(given.banking, home) if given.banking else _drift_data.opinions(home)
    print(_machine.describe("numpy", "scipy"))
    print(f"{world.name}: {len(world.usual):,} usual rows, {len(world.new):,} new ones; windows of {given.rows}.")
    worst = 0.0
    print("\n| reference | years without drift | alerts | highest evidence (alert at 1), median, largest |")
    print("|---|---|---|---|", flush=True)
    for known in given.reference:
        alerts, highest = [], []
        for year in range(given.years):
            watch = Watch(world, np.random.default_rng([given.seed, known, year]), given.rows, known)
            alerts.append(quiet_year(watch, given.days, given.hours))
            highest.append(watch.highest)
        a_year = sum(alerts) / max(len(alerts) * given.days / 365, 1e-9)
        worst = max(worst, a_year)
        print(f"| {known} | {given.years} | {sum(alerts)} | {np.median(highest):.2g}, {max(highest):.2g} |", flush=True)
    print("\n| reference | new share | months | missed | windows to the alert, median, largest | too early | doubled |")
    print("|---|---|---|---|---|---|---|", flush=True)
    for known in given.reference:
        for share in given.shares:
            found = [
                month(
                    Watch(world, np.random.default_rng([given.seed, known, 1_000 + i]), given.rows, known),
                    share,
                    given.hours,
                )
                for i in range(given.months)
            ]
            delays = [delay for delay, _, _ in found if delay is not None]
            told = f"{np.median(delays):.0f}, {max(delays)}" if delays else "none"
            missed, early, doubled = len(found) - len(delays), sum(e for _, e, _ in found), sum(d for *_, d in found)
            print(f"| {known} | {share:.0%} | {len(found)} | {missed} | {told} | {early} | {doubled} |", flush=True)
    print(f"\n{time.perf_counter() - start:.0f} s in all. Alerts a year without a drift: at most {worst:.2f}.")
    return 0 if worst <= OPTIONS.false_alerts_per_year else 1


if __name__ == "__main__":
    sys.exit(main())
