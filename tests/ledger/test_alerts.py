"""Alerts: raised once a release, ruled on in one transaction with their trigger, closed by what follows."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from threading import Barrier

import pytest
from benchmarks._rounds import BAD
from benchmarks.triggers import play
from sqlalchemy import Engine
from sqlalchemy.exc import IntegrityError
from tests.ledger.made import released, unheard, window

from evertune.ledger import alerts, events, runs, triggers, windows
from evertune.ledger import engine as engines
from evertune.ledger.alerts import AlertEntry, Standing
from evertune.ledger.traffic_tables import AlertRow
from evertune.records import (
    AlertStatus,
    Cause,
    Evidence,
    Explanation,
    Finding,
    Outcome,
    Run,
    Signal,
    StaleError,
    Window,
)
from evertune.releases.promote import rollback

FORK = multiprocessing.get_context("fork")
EMBEDDING = (Signal.EMBEDDING,)
NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)


def finding(effect: float = 0.4, signal: Signal = Signal.EMBEDDING) -> Finding:
    return Finding(signal=signal, rows=300, effect=effect, smallest=0.1, p=1e-6, e=500.0)


def raised(
    ledger: Engine, of: Window, signals: tuple[Signal, ...] = EMBEDDING, effect: float = 0.4
) -> AlertEntry | None:
    return alerts.record(
        ledger, of, [finding(effect)], Evidence(total=2.0, until=of.until), signals,
        explanation=Explanation(share=0.4, sentences=("many are of a new kind",)),
    )  # fmt: skip


def judged(ledger: Engine, verdict: Callable[..., Outcome]) -> None:
    """The next run comes to its verdict."""
    run = runs.claim(ledger, "spam", "two", 60)
    assert run is not None
    runs.finish(ledger, run, verdict(run))


def yes(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
    return True, "go"


def no(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
    return False, "not yet"


@pytest.fixture
def champion(ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]) -> Run:
    """Release 1 answers, made by a run that has ended."""
    run = start("the first")
    runs.finish(ledger, run, verdict(run))
    released(ledger, run)
    return run


def test_a_window_without_signals_raises_nothing(ledger: Engine, champion: Run) -> None:
    first = window(ledger, 1)
    assert raised(ledger, first, ()) is None
    found = windows.get(ledger, "spam", 1)
    assert found is not None
    assert (found.findings, found.evidence) == ((finding(),), Evidence(total=2.0, until=first.until))
    assert windows.untested(ledger, "spam") is None


def test_marks_of_labels_are_kept_with_the_newest_window_alone(ledger: Engine, champion: Run) -> None:
    for number in (1, 2):
        about = window(ledger, number)
        alerts.record(ledger, about, [], Evidence(), (), marks={"a segment": number})
    assert [windows.marks(ledger, "spam", number) for number in (1, 2, 3)] == [None, {"a segment": 2}, None]


def test_an_alert_is_raised_once_and_told_in_the_chain_without_texts(ledger: Engine, champion: Run) -> None:
    first = window(ledger, 1)
    one, again = raised(ledger, first), raised(ledger, first)
    assert one == again
    assert one is not None
    assert (one.key, one.status, one.signals, one.rows) == ("drift-1-1", AlertStatus.OPEN, EMBEDDING, 300)
    assert one.explanation is not None
    told = [event for event in events.undelivered(ledger) if event.kind == events.Kind.ALERT]
    assert [event.payload for event in told] == [
        {"alert": "drift-1-1", "generation": 1, "window": 1, "rows": 300, "signals": ["embedding"]}
    ]
    assert events.verify(ledger) == []


def test_later_windows_extend_the_open_alert(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    found = raised(ledger, window(ledger, 2), (Signal.F1,))
    assert found is not None
    assert (found.key, found.until, found.rows) == ("drift-1-1", 2, 600)
    assert found.signals == (Signal.EMBEDDING, Signal.F1)
    assert len(alerts.history(ledger, "spam")) == 1
    told = [event.payload for event in events.undelivered(ledger) if event.kind == events.Kind.ALERT]
    assert [(one["window"], one["signals"], one.get("further")) for one in told] == [
        (1, ["embedding"], None),
        (2, ["embedding", "f1"], ["f1"]),
    ]
    raised(ledger, window(ledger, 3), (Signal.F1,))
    assert len([event for event in events.undelivered(ledger) if event.kind == events.Kind.ALERT]) == 2


def faded(ledger: Engine, of: Window, *signals: Signal) -> AlertEntry | None:
    return alerts.record(ledger, of, [finding(0.0)], Evidence(until=of.until), (), faded=signals)


def test_an_alert_closes_when_its_last_signal_has_faded(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1), (Signal.EMBEDDING, Signal.OUTPUT))
    left = faded(ledger, window(ledger, 2), Signal.OUTPUT)
    assert left is not None
    assert (left.status, left.signals) == (AlertStatus.OPEN, EMBEDDING)
    third = window(ledger, 3)
    assert [faded(ledger, third, Signal.EMBEDDING) for _ in range(2)] == [None, None]
    (told,) = alerts.history(ledger, "spam")
    assert (told.status, told.signals, told.closed is not None) == (AlertStatus.FADED, EMBEDDING, True)
    assert alerts.rule(ledger, "spam", yes) is None
    assert triggers.pending(ledger, "spam") == []
    over = [event for event in events.undelivered(ledger) if event.kind == events.Kind.FADED]
    assert [event.payload for event in over] == [
        {"alert": "drift-1-1", "generation": 1, "window": 3, "signals": ["embedding"]}
    ]
    fourth = window(ledger, 4)
    assert alerts.answered_effects(ledger, fourth, ()) == {}, "nobody has answered it"
    again = raised(ledger, fourth)
    assert again is not None
    assert (again.key, again.status) == ("drift-1-4", AlertStatus.OPEN)


def test_a_signal_that_comes_back_is_told_again(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1), (Signal.EMBEDDING, Signal.F1))
    faded(ledger, window(ledger, 2), Signal.EMBEDDING)
    back = raised(ledger, window(ledger, 3))
    assert back is not None
    assert (back.key, back.signals) == ("drift-1-1", (Signal.F1, Signal.EMBEDDING))
    told = [event.payload for event in events.undelivered(ledger) if event.kind == events.Kind.ALERT]
    assert told[1]["further"] == ["embedding"]


def test_what_a_retrain_was_asked_for_does_not_fade(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", yes)
    found = faded(ledger, window(ledger, 2), Signal.EMBEDDING)
    assert found is not None
    assert (found.status, found.signals) == (AlertStatus.TRIGGERED, EMBEDDING)
    assert len(triggers.pending(ledger, "spam")) == 1


def test_the_database_itself_allows_one_open_alert_a_release(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    with pytest.raises(IntegrityError), engines.writing(ledger) as session:
        session.add(
            AlertRow(
                project="spam", key="another", generation=1, window=1, until=1, signals=[], rows=1, explanation=None,
                status="open", ruling="", created=NOW,
            )
        )  # fmt: skip


def test_windows_are_recorded_in_their_order(ledger: Engine, champion: Run) -> None:
    window(ledger, 1)
    second = window(ledger, 2)
    with pytest.raises(StaleError, match="before window 1"):
        raised(ledger, second)
    assert alerts.history(ledger, "spam") == []


def test_a_window_of_a_release_that_no_longer_answers_raises_nothing(ledger: Engine, champion: Run) -> None:
    released(ledger, champion, 2)
    assert raised(ledger, window(ledger, 1, generation=1)) is None


def test_a_ruling_that_waits_is_kept_and_the_alert_stays_open(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    found = alerts.rule(ledger, "spam", no)
    assert found is not None
    assert (found.status, found.ruling) == (AlertStatus.OPEN, "not yet")
    assert triggers.pending(ledger, "spam") == []
    assert alerts.open_one(ledger, "spam") == found


def test_a_retrain_is_asked_for_once(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    found = alerts.rule(ledger, "spam", yes)
    assert found is not None
    assert found.status == AlertStatus.TRIGGERED
    (asked,) = triggers.pending(ledger, "spam")
    assert (asked.cause, asked.key, asked.generation) == (Cause.ALERT, "drift-1-1", 1)
    assert alerts.rule(ledger, "spam", yes) is None
    extended = raised(ledger, window(ledger, 2), (Signal.F1,))
    assert extended is not None
    assert (extended.until, extended.signals) == (2, (Signal.EMBEDDING, Signal.F1))
    assert alerts.rule(ledger, "spam", yes) is None
    assert len(triggers.pending(ledger, "spam")) == 1


def test_the_policy_is_told_what_the_ledger_knows(ledger: Engine, champion: Run, start: Callable[..., Run]) -> None:
    told: list[Standing] = []

    def note(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
        told.append(standing)
        return False, ""

    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", note)
    start("by the clock")
    triggers.request(ledger, "spam", Cause.ALERT, "earlier", "drift", 1)
    alerts.rule(ledger, "spam", note)
    assert [(one.generation, one.working, len(one.retrains)) for one in told] == [(1, False, 0), (1, True, 1)]


def test_a_verdict_answers_the_alert_and_evidence_begins_anew(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome]
) -> None:
    first = window(ledger, 1)
    raised(ledger, first)
    alerts.rule(ledger, "spam", yes)
    second = window(ledger, 2)
    assert alerts.evidence(ledger, second) == Evidence(total=2.0, until=first.until)
    run = runs.claim(ledger, "spam", "two", 60)
    assert run is not None
    assert [one.key for one in alerts.absorbed(ledger, "spam", run.key)] == ["drift-1-1"]
    alerts.settle(ledger, "spam")
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.TRIGGERED
    runs.finish(ledger, run, verdict(run))
    alerts.settle(ledger, "spam")
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.ANSWERED
    assert alerts.evidence(ledger, second) == Evidence(until=first.until)
    assert alerts.answered_effects(ledger, second, ()) == {Signal.EMBEDDING: 0.4}


def test_a_verdict_answers_also_what_was_found_while_the_clock_was_ahead(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome], jump: Callable[[int], None]
) -> None:
    jump(86_400)
    raised(ledger, window(ledger, 1))
    jump(0)
    alerts.rule(ledger, "spam", yes)
    judged(ledger, verdict)
    alerts.settle(ledger, "spam")
    second = window(ledger, 2)
    assert alerts.evidence(ledger, second).total == 0
    assert alerts.answered_effects(ledger, second, ()) == {Signal.EMBEDDING: 0.4}


def test_evidence_gathers_again_after_a_verdict_that_came_while_the_clock_was_ahead(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome], jump: Callable[[int], None]
) -> None:
    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", yes)
    jump(86_400)
    judged(ledger, verdict)
    alerts.settle(ledger, "spam")
    jump(0)
    raised(ledger, window(ledger, 2), ())
    assert alerts.evidence(ledger, window(ledger, 3)).total == 2


def test_what_drifts_on_after_the_verdict_is_an_alert_of_its_own(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome]
) -> None:
    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", yes)
    judged(ledger, verdict)
    again = raised(ledger, window(ledger, 2))  # nobody has settled the first one since the verdict
    assert again is not None
    assert (again.key, again.status) == ("drift-1-2", AlertStatus.OPEN)
    assert [one.status for one in alerts.history(ledger, "spam")] == [AlertStatus.OPEN, AlertStatus.ANSWERED]


def test_what_was_answered_is_answered_for_all_signals_that_spoke_of_it(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome]
) -> None:
    chance = finding(0.5, Signal.F1).model_copy(update={"e": 0.4})
    seen = [finding(), finding(0.2, Signal.ERRORS), chance]
    alerts.record(ledger, window(ledger, 1), seen, Evidence(total=2.0), EMBEDDING)
    alerts.rule(ledger, "spam", yes)
    second = window(ledger, 2)
    judged(ledger, verdict)
    alerts.settle(ledger, "spam")
    before = {Signal.EMBEDDING: 0.4, Signal.ERRORS: 0.2}
    assert alerts.answered_effects(ledger, second, ()) == before
    # Its labels were given before the verdict, its answers may be of anything.
    after = [finding(0.9), finding(0.3, Signal.ERRORS)]
    assert alerts.answered_effects(ledger, second, after) == before | {Signal.ERRORS: 0.3}
    alerts.record(ledger, second, after, Evidence(), ())
    third = window(ledger, 3)
    assert alerts.answered_effects(ledger, third, [finding(0.9, Signal.ERRORS)]) == before | {Signal.ERRORS: 0.9}


def test_labels_given_after_the_verdict_are_news(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome], monkeypatch: pytest.MonkeyPatch
) -> None:
    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", yes)
    judged(ledger, verdict)
    alerts.settle(ledger, "spam")
    monkeypatch.setattr(windows, "SETTLED", timedelta())
    window(ledger, 2)
    window(ledger, 3)
    third = windows.get(ledger, "spam", 3)
    assert third is not None
    assert alerts.answered_effects(ledger, third, [finding(0.9, Signal.ERRORS)]) == {Signal.EMBEDDING: 0.4}


def test_evidence_is_of_one_release(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1), ())
    released(ledger, champion, 2)
    assert alerts.evidence(ledger, window(ledger, 2, generation=2)) == Evidence()


def test_an_alert_whose_release_is_gone_is_outdated_with_its_trigger(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    alerts.rule(ledger, "spam", yes)
    released(ledger, champion, 2)
    alerts.settle(ledger, "spam")
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.OUTDATED
    assert triggers.pending(ledger, "spam") == []
    assert runs.claim(ledger, "spam", "two", 60) is None


def test_a_rollback_closes_what_accused_the_release_that_it_took_away(ledger: Engine, champion: Run) -> None:
    released(ledger, champion, 2)
    raised(ledger, window(ledger, 1, generation=2))
    alerts.rule(ledger, "spam", yes)
    assert [one.generation for one in triggers.pending(ledger, "spam")] == [2]

    rollback(ledger, "spam", "ann", reason="it is worse")
    assert runs.claim(ledger, "spam", "two", 60) is None, "whoever was woken for it finds nothing to do"
    assert not unheard(ledger, "spam")
    assert alerts.rule(ledger, "spam", yes) is None
    assert len(runs.history(ledger, "spam")) == 1  # the champion's
    told = alerts.history(ledger, "spam")[0]
    assert (told.generation, told.status, told.closed is not None) == (2, AlertStatus.OUTDATED, True)
    with engines.reading(ledger) as session:
        asked = triggers.find(session, "spam", told.key)
        assert asked is not None
        assert (asked.answer, asked.runs, asked.run_key) == (triggers.UNANSWERED, 0, None)
    assert events.verify(ledger) == []

    # What the restored model is sent accuses its own generation, without the cooldown of what nobody answered.
    raised(ledger, window(ledger, 2, generation=3))
    seen: list[Standing] = []

    def look(alert: AlertEntry, standing: Standing) -> tuple[bool, str]:
        seen.append(standing)
        return yes(alert, standing)

    again = alerts.rule(ledger, "spam", look)
    assert again is not None
    assert (again.generation, seen[0].retrains) == (3, ())
    run = runs.claim(ledger, "spam", "two", 60)
    assert run is not None
    assert run.champion == 3


def test_a_run_at_work_still_answers_what_a_rollback_took_its_release_from(
    ledger: Engine, champion: Run, verdict: Callable[..., Outcome]
) -> None:
    released(ledger, champion, 2)
    raised(ledger, window(ledger, 1, generation=2))
    alerts.rule(ledger, "spam", yes)
    run = runs.claim(ledger, "spam", "two", 60)
    assert run is not None

    rollback(ledger, "spam", "ann", reason="it is worse")
    alerts.settle(ledger, "spam")
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.TRIGGERED
    assert alerts.standing(ledger, "spam") is None, "the restored release is accused of nothing"
    runs.finish(ledger, run, verdict(run))
    alerts.settle(ledger, "spam")
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.ANSWERED


def test_answers_of_the_release_before_a_rollback_accuse_nothing(ledger: Engine, champion: Run) -> None:
    released(ledger, champion, 2)
    before = window(ledger, 1, generation=2)
    rollback(ledger, "spam", "ann")
    assert raised(ledger, before) is None, "it was cut before, and tested after"
    assert alerts.history(ledger, "spam") == []


def test_an_open_alert_of_an_older_release_is_not_ruled_on(ledger: Engine, champion: Run) -> None:
    raised(ledger, window(ledger, 1))
    released(ledger, champion, 2)
    assert alerts.rule(ledger, "spam", yes) is None
    assert alerts.history(ledger, "spam")[0].status == AlertStatus.OUTDATED


def _monitor(number: int, barrier: Barrier, url: str, of: Window) -> None:
    engine = engines.ready(url)
    barrier.wait()
    for _ in range(3):
        raised(engine, of)
        alerts.rule(engine, "spam", yes)
        runs.claim(engine, "spam", f"claimant {number}", 600)
    engine.dispose()


def test_many_monitors_at_once_ask_for_one_run(ledger: Engine, url: str, champion: Run) -> None:
    """As Airflow may: tasks doubled, two schedulers, a person at the command line."""
    first = window(ledger, 1)
    barrier = FORK.Barrier(8)
    crowd = [FORK.Process(target=_monitor, args=(number, barrier, url, first)) for number in range(8)]
    for one in crowd:
        one.start()
    for one in crowd:
        one.join(280)
    assert [one.exitcode for one in crowd] == [0] * 8
    assert len(alerts.history(ledger, "spam")) == 1
    assert len(runs.history(ledger, "spam")) == 2  # the champion's and the alert's
    kinds = [event.kind for event in events.undelivered(ledger)]
    assert kinds.count(events.Kind.ALERT) == 1
    assert kinds.count(events.Kind.STARTED) == 2


@pytest.mark.faults
def test_alerts_at_once_with_claimants_that_are_killed(url: str) -> None:
    """The benchmark's rounds in short: 32 monitors, four claimants that take over from each other, kills."""
    found = play(url, rounds=4, kills=0.6)
    assert [found[what] for what in BAD] == [0] * len(BAD)
    assert (found["alerts"], found["requests"], found["outdated"]) == (4, 68, 0)


@pytest.mark.faults
def test_alerts_at_once_whose_release_is_replaced_meanwhile(url: str) -> None:
    """The same, with runs that promote: each window's alert is answered once, or its release is gone."""
    found = play(url, rounds=3, kills=0.4, promotions=0.8)
    assert [found[what] for what in BAD] == [0] * len(BAD)
    assert int(str(found["releases"])) > 1
