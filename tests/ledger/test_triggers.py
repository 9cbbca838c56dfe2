from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, select
from tests.ledger.made import unheard

from evertune.ledger import runs, triggers
from evertune.ledger.engine import clock, reading, writing
from evertune.ledger.tables import RunRow
from evertune.records import Cause, EvertuneError, Run


def test_the_same_request_twice_is_one(ledger: Engine) -> None:
    assert triggers.request(ledger, "spam", Cause.ALERT, "window-7", "drift in window 7")
    assert not triggers.request(ledger, "spam", Cause.ALERT, "window-7", "drift in window 7")
    assert len(triggers.pending(ledger, "spam")) == 1


def test_a_request_stays_one_after_its_run(ledger: Engine, start: Callable[..., Run]) -> None:
    start("window-7")
    assert not triggers.request(ledger, "spam", Cause.ALERT, "window-7", "told again, late")
    assert triggers.pending(ledger, "spam") == []


def test_projects_do_not_share_keys(ledger: Engine) -> None:
    assert triggers.request(ledger, "spam", Cause.CLOCK, "2026-01-01", "night")
    assert triggers.request(ledger, "ham", Cause.CLOCK, "2026-01-01", "night")
    assert [one.project for one in triggers.pending(ledger, "ham")] == ["ham"]


def test_pending_ones_come_back_whole_and_in_order(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.ALERT, "b", "drift", generation=3)
    triggers.request(ledger, "spam", Cause.PERSON, "a", "new labels")
    first, second = triggers.pending(ledger, "spam")
    assert (first.cause, first.key, first.reason, first.generation) == (Cause.ALERT, "b", "drift", 3)
    assert (second.cause, second.key, second.generation) == (Cause.PERSON, "a", None)
    assert first.created <= second.created
    assert first.created.utcoffset() is not None


@pytest.mark.parametrize("project", ["", "Spam", "../etc", "a/b", "spam\n", "a--b", "spam."])
def test_a_project_that_could_name_another_folder_is_refused(ledger: Engine, project: str) -> None:
    with pytest.raises(EvertuneError, match="slug"):
        triggers.request(ledger, project, Cause.PERSON, "k", "r")


def test_words_that_a_database_refuses_are_mended(ledger: Engine) -> None:
    assert triggers.request(ledger, "spam", Cause.PERSON, "k", "naïve \x00 and \udcff, 日本語")
    run = runs.claim(ledger, "spam", "one", 60)
    assert run is not None
    assert run.reasons == ("naïve \ufffd and ?, 日本語",)


def ago(ledger: Engine, column: str, passed: timedelta) -> None:
    """So long ago the newest run ended, or its lease did."""
    with writing(ledger) as session:
        last = session.scalar(select(RunRow).order_by(RunRow.id.desc()).limit(1))
        setattr(last, column, clock(session) - passed)


def test_who_has_begun_nothing_is_woken_at_once(ledger: Engine) -> None:
    assert not unheard(ledger, "spam")
    triggers.request(ledger, "spam", Cause.CLOCK, "night", "night")
    assert not unheard(ledger, "spam")
    triggers.request(ledger, "spam", Cause.ALERT, "drift", "drift")
    assert unheard(ledger, "spam")


@pytest.mark.parametrize(("failures", "hours"), [(1, 1), (2, 2), (3, 4), (7, 24)])
def test_for_a_run_that_failed_somebody_is_woken_after_a_growing_pause(
    ledger: Engine, failures: int, hours: int
) -> None:
    triggers.request(ledger, "spam", Cause.ALERT, "drift", "drift")
    for _ in range(failures):
        run = runs.claim(ledger, "spam", "one", 60)
        assert run is not None
        assert not unheard(ledger, "spam")
        runs.fail(ledger, run, "the disk is full")
    ago(ledger, "ended", timedelta(hours=hours - 0.1))
    assert not unheard(ledger, "spam")
    ago(ledger, "ended", timedelta(hours=hours))
    assert unheard(ledger, "spam")


def test_for_a_run_whose_owner_is_gone_somebody_is_woken(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.ALERT, "drift", "drift")
    runs.claim(ledger, "spam", "one", 60)
    ago(ledger, "lease_until", timedelta(minutes=50))
    assert not unheard(ledger, "spam")
    ago(ledger, "lease_until", timedelta(hours=1))
    assert unheard(ledger, "spam")


def test_the_pause_is_a_day_at_most_however_often_it_failed() -> None:
    assert triggers.pause(9_999) == timedelta(days=1)


def test_each_begin_of_what_an_alert_asked_for_counts_as_a_retrain(ledger: Engine) -> None:
    def count() -> int:
        with reading(ledger) as session:
            return len(triggers.retrains(session, "spam"))

    for project, cause, key in (("ham", Cause.ALERT, "theirs"), ("spam", Cause.CLOCK, "night")):
        triggers.request(ledger, project, cause, key, "because")
        run = runs.claim(ledger, project, "one", 60)
        assert run is not None
        runs.fail(ledger, run, "the disk is full")
        assert count() == 0
    triggers.request(ledger, "spam", Cause.ALERT, "drift", "drift")
    for begun in (1, 2):
        assert count() == max(begun - 1, 1)
        run = runs.claim(ledger, "spam", "one", 60)
        assert run is not None
        assert count() == begun
        runs.fail(ledger, run, "the disk is full")
    assert count() == 2
