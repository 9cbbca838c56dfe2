"""When an alert may start a retrain."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest

from evertune.monitoring.policy import Facts, decide, is_quiet
from evertune.project.monitoring_options import Policy, QuietHours, Retraining
from evertune.records import Alert, AlertStatus, Signal

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
POLICY, RETRAINING = Policy(), Retraining()
ENOUGH = Facts(labels=400, judged=100)
ALERT = Alert(
    project="spam", key="drift-1-3", generation=1, window=3, signals=(Signal.EMBEDDING,), rows=500,
    status=AlertStatus.OPEN, ruling="", created=NOW,
)  # fmt: skip


def ago(hours: float) -> datetime:
    return NOW - timedelta(hours=hours)


def test_with_rows_and_labels_a_retrain_is_asked_for() -> None:
    ruling = decide(ALERT, ENOUGH, POLICY, RETRAINING, NOW)
    assert ruling.retrain


def test_too_few_rows_wait() -> None:
    ruling = decide(ALERT.model_copy(update={"rows": 199}), ENOUGH, POLICY, RETRAINING, NOW)
    assert not ruling.retrain
    assert "199 answers, 200 are asked for" in ruling.why


def test_without_labels_they_are_asked_for_and_nothing_is_retrained() -> None:
    ruling = decide(ALERT, Facts(labels=399, judged=120), POLICY, RETRAINING, NOW)
    assert not ruling.retrain
    assert "label some" in ruling.why
    assert "1 more are needed" in ruling.why


def test_no_retrain_starts_that_could_not_show_its_gain() -> None:
    ruling = decide(ALERT, Facts(labels=900, judged=85), POLICY, RETRAINING, NOW)
    assert not ruling.retrain
    assert "label some" in ruling.why
    assert "worth 85 rows to judge on, and 100 are needed for that, so about 50 more labels" in ruling.why
    assert "about 400 more" in decide(ALERT, Facts(labels=0), POLICY, RETRAINING, NOW).why


def test_many_rows_of_few_groups_are_not_enough_to_judge_on() -> None:
    few = Facts(labels=500, judged=150, groups=5, fewest_groups=6)
    ruling = decide(ALERT, few, POLICY, RETRAINING, NOW)
    assert not ruling.retrain
    assert "those to judge on are of 5 groups" in ruling.why
    assert "fewer than 6, so labels of about 4 more groups" in ruling.why
    assert decide(ALERT, few._replace(groups=6), POLICY, RETRAINING, NOW).retrain
    both = decide(ALERT, few._replace(judged=85), POLICY, RETRAINING, NOW)
    assert "about 50 more labels; those to judge on are of 5 groups" in both.why


def test_where_each_row_is_a_group_rows_alone_are_asked_for() -> None:
    assert "groups" not in decide(ALERT, Facts(labels=0, fewest_groups=6), POLICY, RETRAINING, NOW).why
    three = RETRAINING.model_copy(update={"fewest_judged": 3})
    assert "groups" in decide(ALERT, Facts(400, judged=4, groups=4, fewest_groups=6), POLICY, three, NOW).why


def test_as_many_labels_as_are_asked_for_are_enough_to_judge_on() -> None:
    assert POLICY.fewest_labels * RETRAINING.judged_share >= RETRAINING.fewest_judged


def test_labels_can_be_declared_needless() -> None:
    assert decide(ALERT, Facts(labels=0), Policy(fewest_labels=0), RETRAINING, NOW).retrain


def test_a_release_that_no_longer_answers_is_not_retrained() -> None:
    assert not decide(ALERT, ENOUGH._replace(generation=2), POLICY, RETRAINING, NOW).retrain


def test_the_cooldown_runs_from_the_last_request() -> None:
    early = decide(ALERT, ENOUGH._replace(retrains=[ago(11.9)]), POLICY, RETRAINING, NOW)
    assert not early.retrain
    assert "12 hours must pass" in early.why
    assert decide(ALERT, ENOUGH._replace(retrains=[ago(12)]), POLICY, RETRAINING, NOW).retrain


def test_so_many_a_week() -> None:
    three = [ago(20), ago(50), ago(24 * 7 - 0.1)]
    assert not decide(ALERT, ENOUGH._replace(retrains=three), POLICY, RETRAINING, NOW).retrain
    assert decide(ALERT, ENOUGH._replace(retrains=[*three[:2], ago(24 * 7)]), POLICY, RETRAINING, NOW).retrain
    assert not decide(ALERT, ENOUGH, Policy(retrains_per_week=0), RETRAINING, NOW).retrain


def test_a_clock_set_back_holds_the_cooldown() -> None:
    assert not decide(ALERT, ENOUGH._replace(retrains=[ago(-5)]), POLICY, RETRAINING, NOW).retrain


def test_quiet_hours_hold_it_back() -> None:
    quiet = Policy(quiet_hours=QuietHours(start="11:30", end="12:30"))
    ruling = decide(ALERT, ENOUGH, quiet, RETRAINING, NOW)
    assert not ruling.retrain
    assert "quiet hours (11:30 to 12:30, UTC)" in ruling.why


@pytest.mark.parametrize(
    ("start", "end", "clock", "quiet"),
    [
        ("22:00", "06:30", "22:00", True),
        ("22:00", "06:30", "03:00", True),
        ("22:00", "06:30", "06:29", True),
        ("22:00", "06:30", "06:30", False),
        ("22:00", "06:30", "21:59", False),
        ("09:00", "17:00", "09:00", True),
        ("09:00", "17:00", "17:00", False),
        ("00:00", "00:00", "12:00", True),
    ],
)
def test_quiet_hours_go_past_midnight(start: str, end: str, clock: str, quiet: bool) -> None:
    moment = datetime.strptime(f"2026-11-22 {clock}", "%Y-%m-%d %H:%M").replace(tzinfo=ZoneInfo("Europe/Berlin"))
    hours = QuietHours(start=start, end=end, timezone="Europe/Berlin")
    assert is_quiet(hours, moment.astimezone(UTC)) is quiet


@pytest.mark.parametrize(
    ("utc", "quiet"),
    [
        ("2026-03-28T04:29", True),  # 05:29 in winter
        ("2026-03-29T03:30", True),  # 05:30 on the day that loses an hour
        ("2026-03-29T04:30", False),  # 06:30, an hour of UTC earlier than the day before
        ("2026-10-25T04:30", True),  # 05:30 on the day that has an hour twice
        ("2026-10-25T05:30", False),
    ],
)
def test_quiet_hours_follow_the_clocks_of_their_zone(utc: str, quiet: bool) -> None:
    hours = QuietHours(start="22:00", end="06:30", timezone="Europe/Berlin")
    assert is_quiet(hours, datetime.fromisoformat(f"{utc}+00:00")) is quiet
