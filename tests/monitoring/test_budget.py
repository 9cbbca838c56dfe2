from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from evertune.monitoring import budget
from evertune.monitoring.budget import YEAR, advance, crossed, e_value, watched
from evertune.project.monitoring_options import Monitoring, Signals
from evertune.records.traffic import Evidence, Finding, Signal, Window

START = datetime(2026, 1, 1, tzinfo=UTC)
OPTIONS = Monitoring()
SIX = len(Signal)


def window(until: datetime, since: datetime | None = None, created: datetime | None = None) -> Window:
    since = since or until - timedelta(days=1)
    return Window(
        project="p",
        number=1,
        generation=1,
        rows=9,
        parts=(),
        since=since,
        until=until,
        labels_until=until,
        created=created or until,
    )


def findings(
    e: float = 1.0, effect: float = 1.0, rows: int = 9, signals: tuple[Signal, ...] = tuple(Signal)
) -> list[Finding]:
    return [Finding(signal=signal, rows=rows, effect=effect, smallest=0.1, p=0.5, e=e) for signal in signals]


def test_the_mean_of_e_is_at_most_one() -> None:
    places = (np.arange(200_000) + 0.5) / 200_000
    assert np.mean([e_value(p) for p in places]) <= 1
    assert np.mean([e_value(p) for p in places]) > 0.9  # and hardly anything is given away


def test_e_falls_as_p_rises() -> None:
    chances = [0.0, 1e-12, 1e-6, 0.001, 0.05, 0.5, 0.9, 0.99, 0.998, 0.9995, 1.0]
    values = [e_value(p) for p in chances]
    assert values == sorted(values, reverse=True)
    assert values[0] == values[1] < 2e9
    assert values[-1] == pytest.approx(0.5)


def test_time_earns_not_windows() -> None:
    often = rarely = Evidence(until=START)
    for hour in range(1, 25):
        often = advance(often, findings(), window(START + timedelta(hours=hour)), OPTIONS)
    rarely = advance(rarely, findings(), window(START + timedelta(days=1)), OPTIONS)
    assert often.total == pytest.approx(rarely.total) == pytest.approx(timedelta(days=1) / YEAR)


def test_a_clock_that_jumps_earns_nothing_or_a_month() -> None:
    before = Evidence(total=0.0, until=START)
    back = advance(before, findings(), window(START - timedelta(days=99), created=START + timedelta(days=1)), OPTIONS)
    assert back.total == 0
    assert back.until == START  # what has been earned is not earned again
    ahead = advance(before, findings(), window(START + timedelta(days=9_999)), OPTIONS)
    assert ahead.total == pytest.approx(budget.LONGEST / YEAR)


def test_an_answer_from_next_year_does_not_silence_this_one() -> None:
    today, tomorrow = START + timedelta(days=1), START + timedelta(days=2)
    jumped = advance(Evidence(until=START), findings(), window(today + YEAR, created=today), OPTIONS)
    assert jumped.until == today
    assert jumped.total == pytest.approx(timedelta(days=1) / YEAR)
    after = advance(jumped, findings(1e6), window(tomorrow, created=tomorrow), OPTIONS)
    assert crossed(after, findings(1e6))


def test_when_the_databases_clock_is_put_right_time_earns_again() -> None:
    ahead = START + YEAR
    jumped = advance(Evidence(until=START), findings(), window(ahead), OPTIONS)
    right = advance(jumped, findings(0.0), window(START + timedelta(days=1)), OPTIONS)
    assert right.total == 0
    after = advance(right, findings(), window(START + timedelta(days=2)), OPTIONS)
    assert after.total == pytest.approx(timedelta(days=1) / YEAR)


def test_the_first_window_earns_its_own_time() -> None:
    assert advance(Evidence(), findings(), window(START), OPTIONS).total == pytest.approx(timedelta(days=1) / YEAR)


def test_what_was_not_tested_says_and_earns_nothing() -> None:
    held = advance(Evidence(until=START), findings(5.0), window(START + timedelta(days=1)), OPTIONS)
    after = advance(held, findings(99.0, rows=0), window(START + timedelta(days=2)), OPTIONS)
    assert after.by_signal == held.by_signal


def test_a_signal_turned_off_takes_no_part() -> None:
    options = Monitoring(signals=Signals(f1=None, errors=None))
    assert len(watched(options.signals)) == SIX - 2
    found = advance(
        Evidence(by_signal={Signal.F1: 9.0}, until=START), findings(), window(START + timedelta(days=1)), options
    )
    assert set(found.by_signal) == set(watched(options.signals))
    assert found.total == pytest.approx(timedelta(days=1) / YEAR)
    off = Monitoring(signals=Signals(**dict.fromkeys((signal.value for signal in Signal), None)))
    assert advance(Evidence(), [], window(START), off).total == 0


def test_evidence_stays_finite_and_fades() -> None:
    found = Evidence(until=START)
    for day in range(1, 400):
        found = advance(found, findings(1e9), window(START + timedelta(days=day)), OPTIONS)
    assert found.total <= SIX * budget.MOST
    for day in range(400, 440):
        found = advance(found, findings(0.5), window(START + timedelta(days=day)), OPTIONS)
    assert found.total < 1


def test_an_alert_takes_evidence_and_an_effect_of_the_same_signal() -> None:
    evidence = Evidence(total=1.2, by_signal={Signal.EMBEDDING: 1.1, Signal.OUTPUT: 0.1})
    assert crossed(evidence, findings(signals=(Signal.EMBEDDING,))) == (Signal.EMBEDDING,)
    assert crossed(evidence, findings(effect=0.01, signals=(Signal.EMBEDDING,))) == ()
    assert crossed(evidence, findings(signals=(Signal.OUTPUT,))) == ()
    assert crossed(evidence.model_copy(update={"total": 0.99}), findings()) == ()
    assert crossed(Evidence(), findings()) == ()


def test_a_signal_that_was_answered_counts_again_when_its_effect_has_grown_by_what_matters() -> None:
    evidence = Evidence(total=9.0, by_signal={Signal.EMBEDDING: 9.0, Signal.OUTPUT: 0.0})
    for effect, raised in ((0.4, ()), (0.49, ()), (0.51, (Signal.EMBEDDING,))):
        found = findings(effect=effect, signals=(Signal.EMBEDDING,))
        assert crossed(evidence, found, {Signal.EMBEDDING: 0.4}) == raised


def test_what_was_answered_lends_no_evidence_to_other_signals() -> None:
    answered = {Signal.EMBEDDING: 0.4}
    both = [*findings(effect=0.4, signals=(Signal.EMBEDDING,)), *findings(signals=(Signal.F1,))]
    some = Evidence(total=1e6 + 0.9, by_signal={Signal.EMBEDDING: 1e6, Signal.F1: 0.9})
    assert crossed(some, both) == (Signal.EMBEDDING, Signal.F1)
    assert crossed(some, both, answered) == ()
    enough = Evidence(total=1e6 + 1.1, by_signal={Signal.EMBEDDING: 1e6, Signal.F1: 1.1})
    assert crossed(enough, both, answered) == (Signal.F1,)


def test_signals_that_share_the_evidence_are_all_named() -> None:
    evidence = Evidence(total=1.0, by_signal=dict.fromkeys(Signal, 1 / SIX))
    assert crossed(evidence, findings()) == tuple(Signal)


def quiet_after(days: float, windows: int, rows: int = 9, **changes: float) -> tuple[Signal, ...]:
    """Which of an alert's two signals have faded so many days after they have raised it."""
    drifted = window(START + timedelta(days=1))
    found = advance(Evidence(until=START), findings(1e9, signals=BOTH), drifted, OPTIONS)
    assert crossed(found, findings(1e9, signals=BOTH)) == BOTH
    for number in range(1, windows + 1):
        until = START + timedelta(days=1 + days * number / windows)
        given = findings(**{"e": 0.5, "effect": 0.0, **changes}, rows=rows, signals=BOTH)
        found = advance(found, given, window(until), OPTIONS)
    return budget.faded(found, BOTH)


BOTH = (Signal.EMBEDDING, Signal.F1)


def test_what_is_quiet_for_a_week_fades() -> None:
    assert quiet_after(6.9, 100) == ()
    assert quiet_after(7, 112) == BOTH
    assert quiet_after(300, 6) == (), "a week of windows, and not a week between two"
    assert quiet_after(300, 7) == BOTH
    assert quiet_after(300, 7, rows=0) == (), "what could not be tested is not quiet"


def test_an_effect_is_quiet_where_the_window_or_what_has_gathered_speaks_against_it() -> None:
    assert quiet_after(7, 14, e=1.1, effect=1.0) == ()
    assert quiet_after(7, 14, e=0.9, effect=1.0) == BOTH, "few rows show large effects by chance"
    none = Evidence(by_signal=dict.fromkeys(BOTH, 0.01), quiet=dict.fromkeys(BOTH, 6.5), until=START)
    after = advance(none, findings(1.1, signals=BOTH), window(START + timedelta(days=1)), OPTIONS)
    assert budget.faded(after, BOTH) == BOTH


def test_a_window_that_speaks_begins_the_week_anew() -> None:
    found = Evidence(by_signal={Signal.EMBEDDING: 1.0}, quiet={Signal.EMBEDDING: 99.0}, until=START)
    found = advance(found, findings(9.0, signals=(Signal.EMBEDDING,)), window(START + timedelta(days=1)), OPTIONS)
    assert budget.faded(found, tuple(Signal)) == ()


def test_who_has_just_raised_an_alert_is_quiet_from_then_on() -> None:
    before = Evidence(by_signal=dict.fromkeys(BOTH, 9.0), quiet=dict.fromkeys(BOTH, 99.0), until=START)
    given = findings(0.9, signals=BOTH)  # the effect is there, and what has gathered is enough
    after = advance(before, given, window(START + timedelta(days=1)), OPTIONS)
    assert crossed(after, given) == BOTH
    assert budget.heard(after, BOTH, standing=BOTH) == after
    after = budget.heard(after, BOTH, standing=BOTH[1:])
    assert budget.faded(after, BOTH) == BOTH[1:]
    after = advance(after, findings(0.9, effect=0.0, signals=BOTH), window(START + timedelta(days=7.9)), OPTIONS)
    assert budget.faded(after, BOTH[:1]) == ()


def test_evidence_of_what_has_faded_begins_anew() -> None:
    found = Evidence(total=3.5, by_signal={Signal.EMBEDDING: 3.0, Signal.F1: 0.5}, until=START)
    assert budget.without(found, ()) == found
    left = budget.without(found, (Signal.EMBEDDING,))
    assert left == Evidence(total=0.5, by_signal={Signal.EMBEDDING: 0.0, Signal.F1: 0.5}, until=START)


def test_who_joins_an_alert_has_evidence_without_those_that_are_in_it() -> None:
    both = findings(signals=BOTH)
    some = Evidence(total=1e6 + 0.9, by_signal={Signal.EMBEDDING: 1e6, Signal.F1: 0.9})
    assert crossed(some, both, standing=(Signal.EMBEDDING,)) == (Signal.EMBEDDING,)
    enough = Evidence(total=1e6 + 1.1, by_signal={Signal.EMBEDDING: 1e6, Signal.F1: 1.1})
    assert crossed(enough, both, standing=(Signal.EMBEDDING,)) == BOTH
    assert crossed(enough, both[1:], standing=(Signal.EMBEDDING,)) == (Signal.F1,)
    assert crossed(enough, both, {Signal.F1: 1.0}, standing=(Signal.EMBEDDING,)) == (Signal.EMBEDDING,)


@pytest.mark.parametrize("hours", [24, 168])
def test_without_a_drift_a_year_passes_before_an_alert(hours: int) -> None:
    rng, years = np.random.default_rng(3), 60
    alarms, ends = 0, []
    for _ in range(years):
        found, alarmed = Evidence(until=START), False
        for number in range(1, 365 * 24 // hours):
            given = [
                Finding(signal=signal, rows=9, effect=1, smallest=0.1, p=p, e=e_value(p))
                for signal, p in zip(Signal, rng.random(SIX), strict=True)
            ]
            found = advance(found, given, window(START + timedelta(hours=hours * number)), OPTIONS)
            alarmed |= bool(crossed(found, given))
        alarms += alarmed
        ends.append(found.total)
    assert alarms / years < 0.63  # 1 − 1/e: of alarms that come once a year on average
    assert np.mean(ends) < 3
