from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from evertune.serving.engine.lanes import choose, fill


@given(st.lists(st.integers(0, 512), min_size=1, max_size=80), st.sampled_from([16, 128, 512]))
def test_a_batch_has_the_oldest_row_and_stays_in_the_budget(lengths: list[int], budget: int) -> None:
    lengths[0] = max(2, lengths[0])
    chosen = choose(lengths, budget)
    assert chosen[0] == 0
    assert len(set(chosen)) == len(chosen)
    assert all(lengths[place] for place in chosen)
    longest = max(lengths[place] for place in chosen)
    assert len(chosen) == 1 or len(chosen) * longest <= budget
    computed, real = len(chosen) * longest, sum(lengths[place] for place in chosen)
    assert real >= 0.5 * computed - 8 * len(chosen)


def test_near_lengths_go_first_and_far_ones_wait() -> None:
    assert choose([20, 60, 21, 19, 0, 20], 60) == [0, 5, 3]
    assert choose([20, 200, 3], 10_000) == [0]


@given(st.lists(st.integers(0, 512), min_size=1, max_size=80), st.sampled_from([16, 128, 512]))
def test_without_padding_the_next_that_fit_go_and_half_of_what_waits_is_left(lengths: list[int], budget: int) -> None:
    lengths[0] = max(2, lengths[0])
    chosen = fill(lengths, budget)
    assert chosen[0] == 0
    assert chosen == sorted(set(chosen))
    assert all(lengths[place] for place in chosen)
    total = sum(lengths[place] for place in chosen)
    assert len(chosen) == 1 or total <= 2 * budget
    assert len(chosen) == 1 or total <= max(budget, sum(lengths) // 2)


def test_without_padding_lengths_do_not_matter() -> None:
    assert fill([20, 60, 0, 1], 100) == [0, 1, 3]
    assert fill([90, 60, 10], 100) == [0, 2]
    assert fill([50] * 8, 100) == [0, 1, 2, 3], "much waits, so twice the tokens go"
