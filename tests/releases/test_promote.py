from __future__ import annotations

from collections.abc import Callable

import pytest
from sqlalchemy import Engine
from tests.ledgers import empty, ledger, no_fsync, template, url

from evertune.ledger import events, releases, runs, steps, triggers
from evertune.records import Cause, Decision, EvertuneError, Outcome, Release, Run, RunStatus, StaleError, Step, Verdict
from evertune.releases.promote import RolledBackError, promote, refuse, repeated, rollback, target

__all__ = ["empty", "ledger", "no_fsync", "template", "url"]


@pytest.fixture
def start(ledger: Engine) -> Callable[[str], Run]:
    """Ask for a run and claim it."""

    def start(key: str) -> Run:
        triggers.request(ledger, "spam", Cause.CLOCK, key, "night")
        run = runs.claim(ledger, "spam", "one", 60)
        assert run is not None
        return run

    return start


def end(ledger: Engine, run: Run, status: RunStatus = RunStatus.FINISHED) -> None:
    """Finish the run with the verdict to promote."""
    verdict = Verdict(decision=Decision.PROMOTE, reasons=("it is better",))
    waits = status is RunStatus.AWAITING_APPROVAL
    told = Outcome(run_key=run.key, project="spam", method="full", verdict=verdict, awaiting_approval=waits)
    runs.finish(ledger, run, told, status)


@pytest.fixture
def night(ledger: Engine, start: Callable[[str], Run]) -> Callable[[int], Release]:
    """A run whose candidate, version n with digest n, the gate promotes over what answers."""

    def night(number: int) -> Release:
        run = start(f"night {number}")
        release = promote(ledger, run, "spam", number, f"digest {number}", run.key, run.champion, "gate")
        end(ledger, run)
        return release

    return night


def answers(ledger: Engine) -> tuple[int, int] | None:
    """Generation and model version that answer."""
    now = releases.current(ledger, "spam")
    return (now.generation, now.model_version) if now else None


# -- promote


def test_the_first_release(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    release = promote(ledger, run, "spam", 7, "digest", run.key, 0, "gate")
    assert (release.project, release.generation, release.model_version) == ("spam", 1, 7)
    assert (release.digest, release.run_key, release.kind, release.approved_by) == (
        "digest",
        run.key,
        "promote",
        "gate",
    )
    assert releases.current(ledger, "spam") == release
    assert releases.current(ledger, "ham") is None


def test_generations_rise(ledger: Engine, night: Callable[[int], Release]) -> None:
    assert [night(number).generation for number in (1, 2, 3)] == [1, 2, 3]
    assert [one.generation for one in releases.history(ledger, "spam")] == [3, 2, 1]


@pytest.mark.parametrize("expected", [0, 2, -1])
def test_another_generation_than_was_judged_against_is_refused(
    ledger: Engine, night: Callable[[int], Release], start: Callable[[str], Run], expected: int
) -> None:
    night(1)
    run = start("second")
    with pytest.raises(StaleError, match="Generation 1 of spam answers now"):
        promote(ledger, None, "spam", 2, "digest 2", run.key, expected, "ann")
    assert answers(ledger) == (1, 1)


def test_a_retried_step_gets_the_release_that_it_made(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    made = [promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate") for _ in range(3)]
    end(ledger, run)
    made.append(promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate"))
    assert made == [made[0]] * 4
    assert len(releases.history(ledger, "spam")) == 1
    assert [one.kind for one in events.undelivered(ledger)] == ["started", "release", "verdict"]


def test_a_retry_after_a_rollback_does_not_undo_it(
    ledger: Engine, night: Callable[[int], Release], start: Callable[[str], Run]
) -> None:
    night(1)
    run = start("second")
    made = promote(ledger, run, "spam", 2, "digest 2", run.key, 1, "gate")
    rollback(ledger, "spam", "ann")
    assert promote(ledger, run, "spam", 2, "digest 2", run.key, 1, "gate") == made
    assert answers(ledger) == (3, 1)


def test_a_zombie_promotes_nothing(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    runs.renew(ledger, run, 0)
    taken = runs.claim(ledger, "spam", "two", 60)
    assert taken is not None
    with pytest.raises(StaleError, match="now belongs to two"):
        promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate")
    assert answers(ledger) is None
    promote(ledger, taken, "spam", 1, "digest", run.key, 0, "gate")
    with pytest.raises(StaleError):
        promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate")


def test_a_person_who_was_faster_stops_the_gate(
    ledger: Engine, night: Callable[[int], Release], start: Callable[[str], Run]
) -> None:
    night(1)
    night(2)
    run = start("third")
    rollback(ledger, "spam", "ann")
    with pytest.raises(StaleError):
        promote(ledger, run, "spam", 3, "digest 3", run.key, run.champion, "gate")
    with pytest.raises(StaleError, match="judged against generation 2"):
        promote(ledger, run, "spam", 3, "digest 3", run.key, 3, "gate")
    assert answers(ledger) == (3, 1)


def test_the_gate_needs_its_own_run(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    with pytest.raises(ValueError, match="own run"):
        promote(ledger, None, "spam", 1, "digest", run.key, 0, "gate")
    with pytest.raises(ValueError, match="own run"):
        promote(ledger, run, "spam", 1, "digest", "another", 0, "gate")
    with pytest.raises(ValueError, match="rollback"):
        promote(ledger, None, "spam", 1, "digest", run.key, 0, "ann", "rollback")


def test_a_model_of_unknown_origin_is_refused(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    with pytest.raises(EvertuneError, match="knows no run"):
        promote(ledger, None, "spam", 1, "digest", "spam-nowhere", 0, "ann")
    with pytest.raises(EvertuneError, match="one of spam, not of ham"):
        promote(ledger, None, "ham", 1, "digest", run.key, 0, "ann")


def test_a_version_whose_files_were_changed_is_refused(ledger: Engine, night: Callable[[int], Release]) -> None:
    old = night(1)
    night(2)
    with pytest.raises(EvertuneError, match="its files were changed"):
        promote(ledger, None, "spam", 1, "other digest", old.run_key, 2, "ann")
    assert answers(ledger) == (2, 2)


# -- rollback


def test_going_back_is_a_new_generation(ledger: Engine, night: Callable[[int], Release]) -> None:
    first = night(1)
    night(2)
    back = rollback(ledger, "spam", "ann")
    assert (back.generation, back.model_version, back.digest) == (3, 1, first.digest)
    assert (back.run_key, back.kind, back.approved_by) == (first.run_key, "rollback", "ann")


def test_going_back_twice_goes_back_two_models(ledger: Engine, night: Callable[[int], Release]) -> None:
    for number in (1, 2, 3):
        night(number)
    assert [rollback(ledger, "spam", "ann").model_version for _ in range(2)] == [2, 1]
    with pytest.raises(EvertuneError, match=r"There are: 1 \(version 1\)"):
        rollback(ledger, "spam", "ann")
    assert answers(ledger) == (5, 1)


def test_going_back_to_a_named_generation(ledger: Engine, night: Callable[[int], Release]) -> None:
    for number in (1, 2, 3):
        night(number)
    assert rollback(ledger, "spam", "ann", 1).model_version == 1
    assert rollback(ledger, "spam", "ann", 3).model_version == 3, "and forward again, by a person's hand"
    for to in (9, 0, 3, 5):
        with pytest.raises(EvertuneError, match=f"spam has no generation {to} to go back to"):
            rollback(ledger, "spam", "ann", to)


def test_nothing_to_go_back_from(ledger: Engine, night: Callable[[int], Release]) -> None:
    with pytest.raises(EvertuneError, match="no release yet"):
        rollback(ledger, "spam", "ann")
    night(1)
    there = r"There are: 1 \(version 1\)\. Name one: evertune release rollback spam --to GENERATION"
    with pytest.raises(EvertuneError, match=f"spam has no generation to go back to.* {there}"):
        rollback(ledger, "spam", "ann")
    with pytest.raises(EvertuneError, match=f"spam has no generation 7 to go back to.* {there}"):
        rollback(ledger, "spam", "ann", 7)


def test_a_rollback_of_something_else_than_was_seen_is_refused(ledger: Engine, night: Callable[[int], Release]) -> None:
    night(1)
    night(2)
    rollback(ledger, "spam", "ann", expected=2)
    with pytest.raises(StaleError):
        rollback(ledger, "spam", "bob", expected=2)
    assert answers(ledger) == (3, 1)


def test_the_same_rollback_again_returns_what_it_made(ledger: Engine, night: Callable[[int], Release]) -> None:
    for number in (1, 2, 3):
        night(number)
    assert repeated(ledger, "spam", "ann", None, 3) is None
    made = rollback(ledger, "spam", "ann", expected=3)
    assert rollback(ledger, "spam", "ann", expected=3) == made
    assert rollback(ledger, "spam", "ann", 2, expected=3) == made
    assert repeated(ledger, "spam", "ann", None, 3) == made
    assert answers(ledger) == (4, 2)
    for by, to in (("bob", None), ("ann", 1)):
        assert repeated(ledger, "spam", by, to, 3) is None
        with pytest.raises(StaleError, match="nothing was changed"):
            rollback(ledger, "spam", by, to, expected=3)
    night(5)
    assert repeated(ledger, "spam", "gate", None, 4) is None, "a promotion is no rollback"


def test_a_look_at_another_generation_than_was_seen_is_refused(ledger: Engine, night: Callable[[int], Release]) -> None:
    for number in (1, 2):
        night(number)
    assert target(ledger, "spam", expected=2).generation == 1
    with pytest.raises(StaleError, match="Generation 2 of spam answers now, not 1"):
        target(ledger, "spam", expected=1)


def test_a_model_that_was_rolled_back_returns_only_by_hand(
    ledger: Engine, night: Callable[[int], Release], start: Callable[[str], Run]
) -> None:
    for number in (1, 2, 3):
        night(number)
    rollback(ledger, "spam", "ann", 1)
    run = start("again")
    for number in (2, 3):  # the one that answered, and the one that the person passed over
        with pytest.raises(RolledBackError, match="Only a person"):
            promote(ledger, run, "spam", 9, f"digest {number}", run.key, 4, "gate")
    assert answers(ledger) == (4, 1)
    assert promote(ledger, None, "spam", 9, "digest 3", run.key, 4, "ann").generation == 5
    runs.fail(ledger, run, "over")
    night(6)
    run = start("later")
    assert promote(ledger, run, "spam", 10, "digest 3", run.key, 6, "gate").generation == 7, "ann has let it return"


def test_a_new_model_may_follow_a_rollback(ledger: Engine, night: Callable[[int], Release]) -> None:
    night(1)
    night(2)
    rollback(ledger, "spam", "ann")
    assert night(4).generation == 4


# -- approval


def test_a_person_approves_what_awaits(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    release = promote(ledger, None, "spam", 1, "digest", run.key, run.champion, "ann")
    entry = runs.get(ledger, run.key)
    assert entry is not None
    assert (entry.status, entry.generation) == (RunStatus.FINISHED, 1)
    assert entry.outcome is not None
    assert entry.outcome.release == release
    assert not entry.outcome.awaiting_approval
    assert promote(ledger, None, "spam", 1, "digest", run.key, run.champion, "ann") == release


def test_the_gate_does_not_approve(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    with pytest.raises(StaleError, match="is awaiting approval"):
        promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate")


def test_approving_what_was_judged_against_something_else_is_refused(
    ledger: Engine, start: Callable[[str], Run], night: Callable[[int], Release]
) -> None:
    waiting = start("first")
    end(ledger, waiting, RunStatus.AWAITING_APPROVAL)
    faster = night(2)
    with pytest.raises(StaleError):
        promote(ledger, None, "spam", 1, "digest 1", waiting.key, waiting.champion, "ann")
    entry = runs.get(ledger, waiting.key)
    assert entry is not None
    assert (entry.status, entry.message) == (RunStatus.FINISHED, "superseded by generation 1")
    assert events.undelivered(ledger)[-2].payload["superseded"] == [waiting.key]
    assert releases.current(ledger, "spam") == faster


def test_a_person_refuses(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    for _ in range(2):
        refuse(ledger, run.key, "ann", "the slice of John Smith's mails got worse")
    entry = runs.get(ledger, run.key)
    assert entry is not None
    assert (entry.status, entry.generation) == (RunStatus.FINISHED, None)
    assert entry.message == "refused by ann: the slice of John Smith's mails got worse"
    assert [one.kind for one in events.undelivered(ledger)] == ["started", "verdict", "refused"]
    assert "John" not in str(events.undelivered(ledger))


def test_why_a_person_released_is_kept_but_not_in_the_chain(
    ledger: Engine, start: Callable[[str], Run], night: Callable[[int], Release]
) -> None:
    assert night(1).reason == ""
    run = start("second")
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    promote(ledger, None, "spam", 2, "digest 2", run.key, 1, "ann", reason="John Smith asked \x00")
    rollback(ledger, "spam", "bob", reason="John Smith's mails got worse")
    kept = [one.reason for one in releases.history(ledger, "spam")]
    assert kept == ["John Smith's mails got worse", "John Smith asked \N{REPLACEMENT CHARACTER}", ""]
    assert "John" not in str(events.undelivered(ledger))
    assert events.verify(ledger) == []


def test_what_a_rollback_would_go_back_to_can_be_looked_at_first(
    ledger: Engine, night: Callable[[int], Release]
) -> None:
    with pytest.raises(EvertuneError, match="no release yet"):
        target(ledger, "spam")
    first, second, _ = (night(number) for number in (1, 2, 3))
    assert target(ledger, "spam") == second
    assert target(ledger, "spam", 1) == first
    assert answers(ledger) == (3, 3)


def test_what_was_promoted_cannot_be_refused(ledger: Engine, start: Callable[[str], Run]) -> None:
    run = start("first")
    with pytest.raises(StaleError, match="is active"):
        refuse(ledger, run.key, "ann", "no")
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    promote(ledger, None, "spam", 1, "digest", run.key, 0, "ann")
    with pytest.raises(StaleError, match="is finished"):
        refuse(ledger, run.key, "bob", "no")


def test_all_of_it_leaves_a_chain_that_holds(
    ledger: Engine, night: Callable[[int], Release], start: Callable[[str], Run]
) -> None:
    for number in (1, 2, 3):
        night(number)
    rollback(ledger, "spam", "ann \x00")
    run = start("last")
    steps.record(ledger, run, Step.JUDGE, {"decision": "promote"}, 1.0)
    end(ledger, run, RunStatus.AWAITING_APPROVAL)
    refuse(ledger, run.key, "ann", "no")
    assert events.verify(ledger, events.head(ledger)) == []
