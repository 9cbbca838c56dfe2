from __future__ import annotations

import math

from hypothesis import given, settings
from hypothesis import strategies as st

from evertune.serving.rates import Rates


class Clock:
    def __init__(self, now: float = 1000.0) -> None:
        self.now = now

    def __call__(self) -> float:
        return self.now


STEPS = st.lists(st.tuples(st.floats(0, 3), st.sampled_from([1.0, 1.0, 2.0, 7.0])), max_size=120)


@settings(deadline=None)
@given(STEPS, st.floats(0.2, 50), st.floats(0, 4))
def test_no_window_gets_more_than_the_rate_and_the_burst(
    steps: list[tuple[float, float]], rate: float, burst_s: float
) -> None:
    clock = Clock()
    rates = Rates(burst_s=burst_s, clock=clock)
    taken = []
    for pause, cost in steps:
        clock.now += pause
        if rates.take("key", rate, cost) is None:
            taken.append((clock.now, cost))
    burst = max(rate * burst_s, 1.0, *(cost for _, cost in taken), 0.0)
    for first, (began, _) in enumerate(taken):
        total = 0.0
        for at, cost in taken[first:]:
            total += cost
            assert total <= rate * (at - began) + burst + 1e-3


@settings(deadline=None)
@given(STEPS, st.floats(0.2, 50))
def test_who_waits_as_told_is_let_in_and_who_comes_sooner_is_not(steps: list[tuple[float, float]], rate: float) -> None:
    clock = Clock()
    rates = Rates(clock=clock)
    for pause, cost in steps:
        clock.now += pause
        wait = rates.take("key", rate, cost)
        if wait is None:
            continue
        clock.now += wait * 0.9
        assert wait < 1e-3 or rates.take("key", rate, cost) is not None
        clock.now += wait * 0.1 + 1e-6
        assert rates.take("key", rate, cost) is None


def test_keys_do_not_share() -> None:
    clock = Clock()
    rates = Rates(clock=clock)
    assert [rates.take("one", 2) for _ in range(3)] == [None, None, 0.5]
    assert rates.take("two", 2) is None


def test_a_key_without_any_rate_waits_forever() -> None:
    assert Rates().take("key", 0) == math.inf


def test_memory_is_bounded_and_full_buckets_are_forgotten_first() -> None:
    clock = Clock()
    rates = Rates(keys=10, clock=clock)
    for number in range(10):
        assert rates.take(f"key {number}", 1) is None
    assert rates.take("one more", 1) == 1.0, "while all are in use a new key waits: no bucket is lost"
    assert rates.take("key 0", 1) == 1.0
    clock.now += 1
    assert rates.take("one more", 1) is None
    assert len(rates) == 1
