"""A year of windows, watched as `evertune monitor` does: how often an alert comes without a drift, how late with one.

Real texts, embedded by MiniLM and answered by a classifier (see `_drift_data.py`), are drawn anew for each window. Each
year has a reference of its own, the same for all its windows; a fifth of the answers are labelled. Alerts are ruled on
by the policy as it comes (labels, cooldown, so many a week), and a retrain answers them (see `_watch.py`).

* without a drift: alerts and retrains a year; at most 1 alert is allowed (`false_alerts_per_year`). Once more with a
  part of the answers to texts that are sent again and again, and to templates that differ in a word, as traffic has
  them and data sets have not. The reference is of such traffic then, as that of every later release is, or of a data
  set that has each of them once, as that of the first release is;
* with a drift once a month: windows until the alert and until the retrain, months without an alert (missed), and alerts
  or retrains that follow in the same month although a release knows the drifted windows by then (doubled).

Run it: `python -m benchmarks.year` (`--years 1 --months 2` for a glance, `--banking FOLDER` for Banking77 instead).
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import NamedTuple

import numpy as np
from benchmarks import _drift_data, _machine
from benchmarks._watch import OPTIONS, Watch

from evertune import settings


class Quiet(NamedTuple):
    """Time without a drift."""

    alerts: int
    retrains: int
    highest: float
    """Evidence; an alert at 1."""


class Month(NamedTuple):
    """A month with a drift in its middle."""

    early: int
    """Alerts before it."""
    alert: int | None
    """Windows from the drift to the alert; ``None``: missed."""
    retrain: int | None
    """Windows from the drift to the retrain."""
    doubled: int
    """Alerts, and retrains, after those."""


def quiet_year(watch: Watch, days: int, hours: float) -> Quiet:
    """So many days without a drift. A retrain finds nothing to gain: the release stays."""
    alerts = retrains = 0
    for number in range(1, int(days * 24 / hours) + 1):
        alerted, retrained = watch.step(number, hours)
        alerts, retrains = alerts + alerted, retrains + retrained
        if retrained:
            watch.keep()
    return Quiet(alerts, retrains, watch.highest)


def month(watch: Watch, share: float, hours: float) -> Month:
    """Half a month without a drift, half a month with one, which stays; the first retrain's release goes live."""
    each = int(15 * 24 / hours)
    early = sum(watch.step(number, hours)[0] for number in range(1, each + 1))
    alert = retrain = None
    doubled = 0
    for number in range(each + 1, 2 * each + 1):
        alerted, retrained = watch.step(number, hours, share)
        doubled += (alerted and alert is not None) + (retrained and retrain is not None)
        alert = number - each if alerted and alert is None else alert
        retrain = number - each if retrained and retrain is None else retrain
        if retrained:
            watch.release()
    return Month(early, alert, retrain, doubled)


def without_drift(world: _drift_data.World, given: argparse.Namespace) -> float:
    """Print a row for each size of reference, with and without texts that come again; the most alerts a year."""
    print(
        "\n| reference | of | texts again and again | years | alerts | retrains | highest evidence, median, largest |"
    )
    print("|---|---|---|---|---|---|---|", flush=True)
    worst = 0.0
    for known in given.reference:
        for canned, first in ((0.0, False), (given.canned, False), (given.canned, True)):
            years = [
                quiet_year(
                    Watch(world, np.random.default_rng([given.seed, known, year]), given.rows, known, canned,
                          first=first),
                    given.days, given.hours,
                )
                for year in range(given.years)
            ]  # fmt: skip
            alerts, retrains = sum(one.alerts for one in years), sum(one.retrains for one in years)
            highest = [one.highest for one in years]
            of = "a data set" if first else "traffic"
            print(f"| {known} | {of} | {canned:.0%} | {given.years} | {alerts} | {retrains} | "
                  f"{np.median(highest):.2g}, {max(highest):.2g} |", flush=True)  # fmt: skip
            worst = max(worst, alerts / (given.years * given.days / 365))
    return worst


def with_drift(world: _drift_data.World, given: argparse.Namespace) -> int:
    """Print a row for each size of reference and share of new texts; how many alerts and retrains were doubled."""
    print("\n| reference | new share | months | missed | windows to the alert, median, largest | to the retrain | "
          "too early | doubled |\n|---|---|---|---|---|---|---|---|", flush=True)  # fmt: skip
    all_doubled = 0
    for known in given.reference:
        for share in given.shares:
            found = [
                month(
                    Watch(world, np.random.default_rng([given.seed, known, 1_000 + one]), given.rows, known),
                    share, given.hours,
                )
                for one in range(given.months)
            ]  # fmt: skip
            alerts = [one.alert for one in found if one.alert is not None]
            retrains = [one.retrain for one in found if one.retrain is not None]
            early, doubled = sum(one.early for one in found), sum(one.doubled for one in found)
            print(f"| {known} | {share:.0%} | {len(found)} | {len(found) - len(alerts)} | {_told(alerts)} | "
                  f"{_told(retrains)} | {early} | {doubled} |", flush=True)  # fmt: skip
            all_doubled += doubled
    return all_doubled


def _told(delays: list[int]) -> str:
    return f"{np.median(delays):.0f}, {max(delays)}" if delays else "none"


def options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--years", type=int, default=5, help="without a drift, each with another reference")
    parser.add_argument("--months", type=int, default=12, help="with a drift of each size")
    parser.add_argument("--days", type=int, default=365, help="of a year")
    parser.add_argument("--rows", type=int, default=500, help="answers of a window")
    parser.add_argument("--hours", type=float, default=24.0, help="between windows")
    parser.add_argument("--reference", type=int, nargs="*", default=[500, 2_000], help="rows of the reference")
    parser.add_argument("--shares", type=float, nargs="*", default=[0.1, 0.2, 0.5], help="of a window that is new")
    parser.add_argument("--canned", type=float, default=0.3, help="part of the answers to texts that come again")
    parser.add_argument("--banking", type=Path, help="folder of Banking77: train.csv and test.csv")
    parser.add_argument("--seed", type=int, default=17)
    return parser.parse_args()


def main() -> int:
    given, start = options(), time.perf_counter()
    home = settings.load().home
    world = _drift_data.intents(given.banking, home) if given.banking else _drift_data.opinions(home)
    print(_machine.describe("numpy", "scipy"))
    print(f"{world.name}: {len(world.usual):,} usual rows, {len(world.new):,} new ones; windows of {given.rows}.")
    worst = without_drift(world, given) if given.years else 0.0
    doubled = with_drift(world, given) if given.months else 0
    allowed = OPTIONS.false_alerts_per_year
    print(f"\n{time.perf_counter() - start:.0f} s in all. Alerts a year without a drift: at most {worst:.2f} "
          f"({allowed:g} allowed); doubled: {doubled} (none allowed).")  # fmt: skip
    return 0 if worst <= allowed and not doubled else 1


if __name__ == "__main__":
    sys.exit(main())
