from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine

from evertune.ledger import runs, triggers
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
