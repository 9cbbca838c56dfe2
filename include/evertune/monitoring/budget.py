"""One budget of false alerts over all windows and signals.

The p-value of a window becomes an e-value, whose mean is at most 1 without a drift. Evidence of a signal is
M ← (M + g) · e, where g is the part of the budget that the time since the window before has earned, shared among the
signals (an e-detector of Shiryaev and Roberts's kind: Shin, Ramdas and Rinaldo 2022, arXiv 2203.03532). Without a drift
the mean of the sum of all M is at most what time has earned, so before it reaches 1 the mean time that passes is at
least 1 / ``false_alerts_per_year`` years, however many windows there are and whenever one looks.

An open alert lets a signal go that has been quiet for :data:`FADES` days, or was turned off. The
evidence of that begins anew, so that the next alert is a new one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timedelta
from types import MappingProxyType

from evertune.project.monitoring_options import Monitoring, Signals
from evertune.records.traffic import Evidence, Finding, Signal, Window

YEAR = timedelta(days=365.25)
DAY = timedelta(days=1)
LONGEST = timedelta(days=31)
"""Time between two windows beyond this earns nothing: the clock, the database's too, may have jumped."""
SMALLEST_P = 1e-12
ROUNDING = 1e-9
FADES = 7.0
"""Days for which a signal of an open alert must be quiet: a drift of each night, or of each weekend, is one alert."""
MOST = 1e6
"""Evidence of a signal is not kept beyond this, so that what has ended fades in weeks and not in years."""


def e_value(p: float) -> float:
    """The evidence of a p-value: the mixture of all calibrators κ·p^(κ−1) (Vovk and Wang 2021, Ann. Statist. 49:1736).

    Its mean is 1 where p is uniform, and below where p is larger than that.
    """
    log = math.log(min(max(p, SMALLEST_P), 1.0))
    if log > -1e-3:
        return 0.5 - log / 6  # the limit, where the formula is 0 / 0
    return (1 - math.exp(log) + math.exp(log) * log) / (math.exp(log) * log**2)


def watched(signals: Signals) -> tuple[Signal, ...]:
    """The signals that are turned on."""
    return tuple(signal for signal in Signal if getattr(signals, signal.value) is not None)


def advance(before: Evidence, findings: Sequence[Finding], window: Window, options: Monitoring) -> Evidence:
    """The evidence after a window. What could not be tested says nothing: its evidence stays, and earns nothing."""
    signals = watched(options.signals)
    if not signals:
        return Evidence(until=_end(window))
    passed = _passed(before.until, window)
    earned = options.false_alerts_per_year * (passed / YEAR) / len(signals)
    tested = {finding.signal: finding for finding in findings if finding.rows > 0}
    found, quiet = {}, {}
    for signal in signals:
        found[signal], quiet[signal] = before.by_signal.get(signal, 0.0), before.quiet.get(signal, 0.0)
        if (finding := tested.get(signal)) is not None:
            found[signal] = min((found[signal] + earned) * finding.e, MOST)
            speaks = finding.matters and finding.e > 1 and found[signal] >= _part(len(signals))
            quiet[signal] = 0.0 if speaks else quiet[signal] + min(passed / DAY, 1.0)
    return Evidence(total=sum(found.values()), by_signal=found, quiet=quiet, until=_later(before.until, window))


def faded(evidence: Evidence, signals: Sequence[Signal]) -> tuple[Signal, ...]:
    """Those of an open alert's signals that have been quiet for long enough to leave it, or are no longer watched."""
    return tuple(
        signal for signal in signals if signal not in evidence.by_signal or evidence.quiet.get(signal, 0.0) >= FADES
    )


def heard(evidence: Evidence, raised: Collection[Signal], standing: Collection[Signal] = ()) -> Evidence:
    """The same where those that have just raised an alert, or joined the ``standing`` one, were not quiet before it.

    A window in which a signal that is there already is seen again by chance (e ≤ 1) does not begin its week anew.
    """
    began = dict.fromkeys((signal for signal in raised if signal not in standing), 0.0)
    return evidence.model_copy(update={"quiet": {**evidence.quiet, **began}})


def without(evidence: Evidence, signals: Collection[Signal]) -> Evidence:
    """The same where what these signals have shown has had its consequence."""
    held = {signal: 0.0 if signal in signals else value for signal, value in evidence.by_signal.items()}
    return evidence.model_copy(update={"by_signal": held, "total": sum(held.values())})


def crossed(
    evidence: Evidence,
    findings: Sequence[Finding],
    answered: Mapping[Signal, float] = MappingProxyType({}),
    standing: Collection[Signal] = (),
) -> tuple[Signal, ...]:
    """The signals that raise an alert, none where there is none.

    The evidence of all together must have reached 1. Of the signals that it comes from, those count whose effect in
    this window is as large as what matters.

    ``answered`` has the effects that an alert was answered for. A signal that has not moved on from there by another
    smallest effect neither counts nor lends its evidence: what it proves has been answered, and with it every other
    signal would raise an alert at its own share of the budget, not all of them together at all of it.

    ``standing`` are the signals of an alert that is there already. They lend nothing to those that join it either.
    """
    raised = _crossed(evidence, findings, answered)
    if not standing:
        return raised
    joining = _crossed(evidence, findings, {**answered, **dict.fromkeys(standing, math.inf)})
    return tuple(signal for signal in raised if signal in standing or signal in joining)


def _crossed(evidence: Evidence, findings: Sequence[Finding], answered: Mapping[Signal, float]) -> tuple[Signal, ...]:
    silent = {one.signal for one in findings if one.effect < answered.get(one.signal, -math.inf) + one.smallest}
    held = {signal: value for signal, value in evidence.by_signal.items() if signal not in silent}
    if min(evidence.total, sum(held.values())) < 1 - ROUNDING:
        return ()
    part = _part(len(evidence.by_signal))
    effects = {finding.signal for finding in findings if finding.matters}
    return tuple(signal for signal in Signal if signal in effects and held.get(signal, 0.0) >= part)


def _part(signals: int) -> float:
    """Evidence with which a signal speaks for an alert."""
    return (1 - ROUNDING) / signals


def _passed(before: datetime | None, window: Window) -> timedelta:
    # A server's clock that was set back earns nothing twice.
    start = window.since if before is None else before
    return min(max(_end(window) - start, timedelta()), LONGEST)


def _later(before: datetime | None, window: Window) -> datetime:
    # Never after the window was cut: one answer of next year would hold back all that this year earns.
    return _end(window) if before is None else min(max(before, _end(window)), window.created)


def _end(window: Window) -> datetime:
    """When the last answer was given, as far as the database's clock can bear it out."""
    return min(window.until, window.created)
