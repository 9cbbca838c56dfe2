from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta

import pytest
from sqlalchemy import Engine, text
from sqlalchemy.exc import IntegrityError

from evertune.ledger import engine as engines
from evertune.ledger import events, releases, runs, steps, triggers
from evertune.records import (
    Cause,
    Decision,
    EvertuneError,
    Outcome,
    Run,
    RunStatus,
    StaleError,
    Step,
)
from evertune.releases.promote import promote, refuse, rollback


def kinds(ledger: Engine) -> list[str]:
    """What happened, in order."""
    return [one.kind for one in events.undelivered(ledger)]


# -- claim


def test_nothing_asked_is_nothing_claimed(ledger: Engine) -> None:
    assert runs.claim(ledger, "spam", "one", 60) is None
    assert kinds(ledger) == []


def test_a_new_run_absorbs_all_that_was_asked(ledger: Engine) -> None:
    for key in ("a", "b", "c"):
        triggers.request(ledger, "spam", Cause.ALERT, key, f"because of {key}")
    triggers.request(ledger, "ham", Cause.CLOCK, "h", "another project's")
    run = runs.claim(ledger, "spam", "one", 60)
    assert run is not None
    assert (run.owner, run.token, run.status, run.champion) == ("one", 1, RunStatus.ACTIVE, 0)
    assert run.reasons == ("because of a", "because of b", "because of c")
    assert triggers.pending(ledger, "spam") == []
    assert len(triggers.pending(ledger, "ham")) == 1
    assert events.undelivered(ledger)[0].payload["triggers"] == ["a", "b", "c"]


def test_a_reason_given_often_is_told_once(ledger: Engine) -> None:
    for night in range(3):
        triggers.request(ledger, "spam", Cause.CLOCK, f"night {night}", "the nightly run")
    run = runs.claim(ledger, "spam", "one", 60)
    assert run is not None
    assert run.reasons == ("the nightly run",)


def test_the_key_is_a_name_for_a_folder_and_sorts_by_time(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start("2026-01-01T00:00:00+00:00 / ../x")
    assert re.fullmatch(r"spam-\d{8}T\d{6}-[0-9a-f]{8}", run.key)


def test_a_retry_finds_its_own_run(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start()
    time.sleep(0.01)
    again = runs.claim(ledger, "spam", "one", 60)
    assert again is not None
    assert (again.key, again.token) == (run.key, 1)
    assert again.lease_until > run.lease_until
    assert kinds(ledger) == ["started"]


def test_a_live_lease_keeps_others_out_and_their_triggers_wait(ledger: Engine, start: Callable[..., Run]) -> None:
    start()
    triggers.request(ledger, "spam", Cause.ALERT, "later", "drift")
    assert runs.claim(ledger, "spam", "two", 60) is None
    assert [one.key for one in triggers.pending(ledger, "spam")] == ["later"]


def test_a_dead_owners_run_is_taken_over(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start(lease_s=0)
    taken = runs.claim(ledger, "spam", "two", 60)
    assert taken is not None
    assert (taken.key, taken.owner, taken.token) == (run.key, "two", 2)
    assert runs.claim(ledger, "spam", "three", 60) is None
    assert kinds(ledger) == ["started", "resumed"]


def test_projects_do_not_wait_for_each_other(ledger: Engine, start: Callable[..., Run]) -> None:
    assert start(project="spam").key != start(project="ham").key


def test_the_champion_is_what_answers_at_the_claim(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    first = start("first")
    promote(ledger, first, "spam", 1, "digest", first.key, 0, "gate")
    runs.finish(ledger, first, verdict(first, Decision.PROMOTE), RunStatus.FINISHED)
    assert start("second").champion == 1


def test_a_trigger_against_what_no_longer_answers_closes(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    first = start("first")
    triggers.request(ledger, "spam", Cause.ALERT, "late", "drift under no release", generation=0)
    promote(ledger, first, "spam", 1, "digest", first.key, 0, "gate")
    runs.finish(ledger, first, verdict(first, Decision.PROMOTE), RunStatus.FINISHED)
    assert runs.claim(ledger, "spam", "one", 60) is None
    assert triggers.pending(ledger, "spam") == []
    triggers.request(ledger, "spam", Cause.ALERT, "right", "drift under release 1", generation=1)
    run = runs.claim(ledger, "spam", "one", 60)
    assert run is not None
    assert run.reasons == ("drift under release 1",)


def test_waiting_for_a_person_does_not_block_the_next_run(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    first = start("first")
    runs.finish(ledger, first, verdict(first, Decision.PROMOTE), RunStatus.AWAITING_APPROVAL)
    assert start("second").key != first.key


def test_who_awaits_approval_outlives_runs_that_ask_nobody(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    assert runs.awaiting(ledger, "spam") is None
    waiting = start("waiting")
    runs.finish(ledger, waiting, verdict(waiting, Decision.PROMOTE), RunStatus.AWAITING_APPROVAL)
    for night in range(25):
        run = start(f"night {night}")
        if night % 2:
            runs.fail(ledger, run, "a source is away")
        else:
            runs.finish(ledger, run, verdict(run, Decision.NOT_ENOUGH_EVIDENCE))
    found = runs.awaiting(ledger, "spam")
    assert found is not None
    assert found.key == waiting.key
    later = start("later")
    runs.finish(ledger, later, verdict(later, Decision.PROMOTE), RunStatus.AWAITING_APPROVAL)
    refuse(ledger, later.key, "ann", "no")
    assert runs.awaiting(ledger, "spam") is None, "a no that is sent twice would be about a model nobody has looked at"


def test_who_awaits_approval_waits_no_longer_where_another_release_answers(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    waiting = start("waiting")
    runs.finish(ledger, waiting, verdict(waiting, Decision.PROMOTE), RunStatus.AWAITING_APPROVAL)
    other = start("other")
    promote(ledger, other, "spam", 2, "digest", other.key, 0, "gate")
    assert runs.awaiting(ledger, "spam") is None, "it was judged against what no longer answers"


def test_two_active_runs_cannot_even_be_written(ledger: Engine, start: Callable[..., Run]) -> None:
    start()
    copy = (
        "INSERT INTO runs (key, project, owner, token, status, champion, reasons, created, lease_s, lease_until) "
        "SELECT 'other', project, owner, token, status, champion, reasons, created, lease_s, lease_until FROM runs"
    )
    with pytest.raises(IntegrityError), engines.writing(ledger) as session:
        session.execute(text(copy))


# -- the token


def write_all_ways(ledger: Engine, run: Run, outcome: Outcome) -> list[Callable[[], object]]:
    """Every write that a run's owner can make."""
    return [
        lambda: runs.renew(ledger, run, 60),
        lambda: runs.set_plan(ledger, run, "plan"),
        lambda: steps.record(ledger, run, Step.PREPARE, {"version": 1}, 1.0),
        lambda: promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate"),
        lambda: runs.finish(ledger, run, outcome, RunStatus.FINISHED),
        lambda: runs.fail(ledger, run, "no"),
    ]


def test_a_zombie_is_refused_everywhere(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    zombie = start(lease_s=0)
    taken = runs.claim(ledger, "spam", "two", 60)
    for write in write_all_ways(ledger, zombie, verdict(zombie)):
        with pytest.raises(StaleError, match="now belongs to two"):
            write()
    with pytest.raises(StaleError):
        runs.held(ledger, zombie.key, "one")
    assert runs.get(ledger, zombie.key) == taken
    assert steps.all(ledger, zombie.key) == []
    assert releases.current(ledger, "spam") is None


def test_a_takeover_and_back_still_refuses_the_first_token(ledger: Engine, start: Callable[..., Run]) -> None:
    zombie = start(owner="one", lease_s=0)
    runs.claim(ledger, "spam", "two", 0)
    back = runs.claim(ledger, "spam", "one", 60)
    assert back is not None
    assert back.token == 3
    with pytest.raises(StaleError):
        runs.set_plan(ledger, zombie, "plan")
    runs.set_plan(ledger, back, "plan")


def test_an_owner_whose_lease_ran_out_unnoticed_goes_on(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start(lease_s=0)
    runs.set_plan(ledger, run, "plan")
    assert runs.renew(ledger, run, 60).lease_until > run.lease_until


def test_every_commit_moves_the_lease_on(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start(lease_s=60)
    time.sleep(0.01)
    steps.record(ledger, run, Step.CLAIM, {}, 0.0)
    after = runs.active(ledger, "spam")
    assert after is not None
    assert after.lease_until > run.lease_until


def test_a_lease_is_renewed_for_as_long_as_asked(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start(lease_s=60)
    longer = runs.renew(ledger, run, 3600)
    assert timedelta(seconds=3500) < longer.lease_until - run.created < timedelta(seconds=3700)
    assert runs.held(ledger, run.key, "one") == longer


def test_an_unknown_run_is_told(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start().model_copy(update={"key": "spam-nowhere"})
    with pytest.raises(EvertuneError, match="knows no run"):
        runs.renew(ledger, run, 60)
    assert runs.get(ledger, "spam-nowhere") is None


# -- the end


def test_a_run_ends_at_its_verdict_once(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    run = start()
    for _ in range(3):
        runs.finish(ledger, run, verdict(run), RunStatus.FINISHED)
    entry = runs.get(ledger, run.key)
    assert entry is not None
    assert (entry.status, entry.decision, entry.outcome) == (RunStatus.FINISHED, Decision.REJECT, verdict(run))
    assert runs.active(ledger, "spam") is None
    assert kinds(ledger) == ["started", "verdict"]
    assert events.undelivered(ledger)[1].payload["decision"] == "reject"
    assert runs.claim(ledger, "spam", "one", 60) is None, "its triggers are answered"


def test_an_ended_run_takes_nothing_more(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    run = start()
    runs.finish(ledger, run, verdict(run), RunStatus.FINISHED)
    for write in (lambda: runs.renew(ledger, run, 60), lambda: runs.set_plan(ledger, run, "x")):
        with pytest.raises(StaleError, match="is finished"):
            write()
    with pytest.raises(StaleError, match="cannot fail"):
        runs.fail(ledger, run, "too late")
    with pytest.raises(StaleError):
        promote(ledger, run, "spam", 1, "digest", run.key, 0, "gate")


def test_a_run_that_fails_gives_its_triggers_back(ledger: Engine, start: Callable[..., Run]) -> None:
    run = start("window-7")
    for _ in range(2):
        runs.fail(ledger, run, "MLflow did not answer \x00")
    entry = runs.get(ledger, run.key)
    assert entry is not None
    assert (entry.status, entry.message) == (RunStatus.FAILED, "MLflow did not answer \ufffd")
    assert kinds(ledger) == ["started", "failed"]
    assert [one.key for one in triggers.pending(ledger, "spam")] == ["window-7"]
    again = runs.claim(ledger, "spam", "two", 60)
    assert again is not None
    assert again.key == f"{run.key}-2"
    assert again.reasons == run.reasons


def test_the_chain_does_not_quote_what_failed(ledger: Engine, start: Callable[..., Run]) -> None:
    runs.fail(ledger, start(), "cannot read the row 'John Smith, 4111 1111 1111 1111'")
    assert "John" not in str(events.undelivered(ledger))


def test_a_failed_run_cannot_finish(ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]) -> None:
    run = start()
    runs.fail(ledger, run, "no")
    with pytest.raises(StaleError, match="has failed"):
        runs.finish(ledger, run, verdict(run), RunStatus.FINISHED)


def test_a_run_cannot_finish_as_active(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    run = start()
    with pytest.raises(ValueError, match="finish as active"):
        runs.finish(ledger, run, verdict(run), RunStatus.ACTIVE)


# -- what the ledger knows


def test_history_is_newest_first(ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]) -> None:
    keys = []
    for name in ("a", "b", "c"):
        run = start(name)
        runs.finish(ledger, run, verdict(run), RunStatus.FINISHED)
        keys.append(run.key)
    assert [one.key for one in runs.history(ledger, "spam", 2)] == keys[:0:-1]


def test_the_same_plan_finds_what_was_judged(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    promoted = start("a")
    runs.set_plan(ledger, promoted, "plan")
    assert runs.same_plan(ledger, "spam", "plan") == [], "it goes on still"
    promote(ledger, promoted, "spam", 1, "digest", promoted.key, 0, "gate")
    runs.finish(ledger, promoted, verdict(promoted, Decision.PROMOTE), RunStatus.FINISHED)
    unchanged = start("b")
    runs.set_plan(ledger, unchanged, "plan")
    runs.finish(ledger, unchanged, verdict(unchanged, Decision.UNCHANGED), RunStatus.FINISHED)
    failed = start("c")
    runs.set_plan(ledger, failed, "plan")
    runs.fail(ledger, failed, "no")
    found = runs.same_plan(ledger, "spam", "plan")
    assert [(one.key, one.champion, one.generation, one.decision) for one in found] == [
        (promoted.key, 0, 1, Decision.PROMOTE)
    ]
    assert found[0].outcome.method == "full"
    assert runs.same_plan(ledger, "spam", "other plan") == []
    assert runs.same_plan(ledger, "ham", "plan") == []


def test_looks_count_verdicts_against_this_champion(
    ledger: Engine, start: Callable[..., Run], verdict: Callable[..., Outcome]
) -> None:
    def judged(name: str, decision: Decision) -> Run:
        run = start(name)
        runs.finish(ledger, run, verdict(run, decision), RunStatus.FINISHED)
        return run

    assert runs.looks(ledger, "spam", 0) == 0
    judged("a", Decision.REJECT)
    judged("b", Decision.NOT_ENOUGH_EVIDENCE)
    judged("c", Decision.UNCHANGED)
    assert runs.looks(ledger, "spam", 0) == 2
    first = judged("d", Decision.PROMOTE)
    promote(ledger, None, "spam", 1, "one", first.key, 0, "ann")
    assert runs.looks(ledger, "spam", 0) == 3
    assert runs.looks(ledger, "spam", 1) == 0
    judged("e", Decision.REJECT)
    second = judged("f", Decision.PROMOTE)
    promote(ledger, None, "spam", 2, "two", second.key, 1, "ann")
    assert runs.looks(ledger, "spam", 2) == 0
    assert rollback(ledger, "spam", "ann").generation == 3
    assert runs.looks(ledger, "spam", 3) == 2, "the model is the one of generation 1"


@pytest.mark.parametrize("result", [{"decision": "reject"}, {"verdict": {"decision": "reject"}}])
def test_a_look_counts_although_the_run_failed_after_it(
    ledger: Engine, start: Callable[..., Run], result: dict[str, object]
) -> None:
    run = start()
    steps.record(ledger, run, Step.JUDGE, result, 1.0)
    runs.fail(ledger, run, "MLflow did not answer")
    assert runs.looks(ledger, "spam", 0) == 1


# -- the clock


def test_a_clock_that_jumps_ahead_costs_a_takeover_and_nothing_else(
    ledger: Engine, start: Callable[..., Run], jump: Callable[[int], None]
) -> None:
    alive = start(lease_s=60)
    jump(86_400)
    taken = runs.claim(ledger, "spam", "two", 60)
    assert taken is not None
    assert (taken.key, taken.token) == (alive.key, 2)
    with pytest.raises(StaleError):
        runs.set_plan(ledger, alive, "plan")


def test_a_clock_that_jumps_back_keeps_order_and_chain(
    ledger: Engine, start: Callable[..., Run], jump: Callable[[int], None], verdict: Callable[..., Outcome]
) -> None:
    first = start("first")
    runs.finish(ledger, first, verdict(first), RunStatus.FINISHED)
    jump(-86_400)
    second = start("second")
    assert second.key < first.key, "the key tells the time as it was told"
    assert [one.key for one in runs.history(ledger, "spam", 2)] == [second.key, first.key]
    assert runs.claim(ledger, "spam", "two", 60) is None
    assert events.verify(ledger) == []


def test_a_workers_clock_does_not_matter(
    ledger: Engine, start: Callable[..., Run], monkeypatch: pytest.MonkeyPatch
) -> None:
    run = start(lease_s=60)
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 86_400)
    assert runs.claim(ledger, "spam", "two", 60) is None
    assert runs.renew(ledger, run, 60).lease_until - run.lease_until < timedelta(seconds=60)


# -- races


def run_together(crowd: list[Callable[[], None]]) -> None:
    """Each in a thread of its own; the first fault of any is raised."""
    faults: list[BaseException] = []

    def guarded(act: Callable[[], None]) -> None:
        try:
            act()
        except BaseException as fault:  # noqa: BLE001 - raised below, in the test's own thread
            faults.append(fault)

    threads = [threading.Thread(target=guarded, args=(act,)) for act in crowd]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if faults:
        raise faults[0]


def test_claims_at_once_give_one_run(ledger: Engine) -> None:
    triggers.request(ledger, "spam", Cause.CLOCK, "k", "now")
    got: list[Run | None] = []
    run_together([lambda n=n: got.append(runs.claim(ledger, "spam", f"owner {n}", 60)) for n in range(8)])  # type: ignore[misc] # a default binds n
    assert sum(run is not None for run in got) == 1
    assert len(got) == 8


def test_takeovers_at_once_give_one_owner(ledger: Engine, start: Callable[..., Run]) -> None:
    start(lease_s=0)
    got: list[Run | None] = []
    run_together([lambda n=n: got.append(runs.claim(ledger, "spam", f"owner {n}", 60)) for n in range(8)])  # type: ignore[misc] # a default binds n
    assert [run.token for run in got if run] == [2]


def test_the_same_request_at_once_is_one(ledger: Engine) -> None:
    got: list[bool] = []
    run_together([lambda: got.append(triggers.request(ledger, "spam", Cause.ALERT, "w", "drift"))] * 8)
    assert sorted(got) == [False] * 7 + [True]
