"""Rates and quantiles of the last hour."""

from __future__ import annotations

import random
import statistics

import pytest

from evertune.serving.http.traffic import BOUNDS_S, MINUTES, Traffic


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


def test_quantiles_are_near_the_true_ones() -> None:
    traffic, chance = Traffic(Clock()), random.Random(1)
    times = [chance.lognormvariate(-4, 0.8) for _ in range(5000)]
    for seconds in times:
        traffic.answered("reviews", seconds)
    true = statistics.quantiles(times, n=100)
    for share in (0.5, 0.9, 0.99):
        assert traffic.quantile_s("reviews", share) == pytest.approx(true[round(share * 100) - 1], rel=0.15)


def test_extremes_have_a_class_too() -> None:
    traffic = Traffic(Clock())
    for seconds in (0.0, 1e9):
        traffic.answered("reviews", seconds)
    assert traffic.quantile_s("reviews", 1.0) == pytest.approx(BOUNDS_S[-1] * 1.15)
    assert (traffic.quantile_s("reviews", 0.1) or 0) <= BOUNDS_S[0]


def test_a_project_without_traffic_has_none() -> None:
    traffic = Traffic(Clock())
    assert traffic.quantile_s("reviews", 0.5) is None
    assert traffic.per_minute("reviews") == 0
    assert [one.requests for one in traffic.minutes("reviews")] == [0] * MINUTES


def test_the_rate_counts_sixty_seconds() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    for _ in range(60):
        traffic.answered("reviews", 0.01)
        clock.now += 1
    assert traffic.per_minute("reviews") == pytest.approx(60)
    clock.now += 30
    assert traffic.per_minute("reviews") == pytest.approx(30)
    clock.now += 120
    assert traffic.per_minute("reviews") == 0


def test_minutes_are_the_last_hour_and_older_ones_are_let_go() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    for minute in range(200):
        clock.now = 1_800_000_000 + 60 * minute
        for _ in range(minute % 3):
            traffic.answered("reviews", 0.01)
    minutes = traffic.minutes("reviews")
    assert len(minutes) == MINUTES
    assert minutes[-1].at == clock.now
    assert [one.requests for one in minutes] == [minute % 3 for minute in range(140, 200)]
    assert len(traffic._hours["reviews"].counts) <= MINUTES + 2


def test_quantiles_forget_what_is_old() -> None:
    clock = Clock()
    traffic = Traffic(clock)
    traffic.answered("reviews", 5.0)
    clock.now += 600
    traffic.answered("reviews", 0.001)
    assert (traffic.quantile_s("reviews", 0.99) or 1) < 0.01
