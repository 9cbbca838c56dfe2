"""Where windows end: by rows, by time, by a newer release; and that each answer is in one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from evertune.ledger.cutting import Draft, Outline, Pending, next_window
from evertune.project.monitoring_options import WindowOptions

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
OPTIONS = WindowOptions(rows=10, hours=1.0, fewest_rows=3)
Segments = list[tuple[Pending, Outline]]


def made(*segments: Sequence[tuple[int, float]], cut: int = 0) -> Segments:
    """Segments of answers, each its generation and minute."""
    return [
        (
            Pending(f"{number:016x}", {"2026-11-22/12": len(answers)}, cut, None),
            Outline([one for one, _ in answers], [NOON + timedelta(minutes=minute) for _, minute in answers]),
        )
        for number, answers in enumerate(segments)
    ]


def cut(segments: Segments, generation: int = 1, minutes: float = 30, options: WindowOptions = OPTIONS) -> Draft | None:
    return next_window(segments, generation, NOON + timedelta(minutes=minutes), options)


def places(draft: Draft | None) -> list[tuple[int, int, int]]:
    return [(int(part.segment, 16), part.first, part.end) for part in draft.parts] if draft else []


def test_so_many_rows_are_a_window_over_segments() -> None:
    draft = cut(made([(1, 0)] * 6, [(1, 1)] * 6))
    assert places(draft) == [(0, 0, 6), (1, 0, 4)]
    assert draft is not None
    assert (draft.rows, draft.stragglers) == (10, 0)
    assert draft.next == NOON + timedelta(minutes=1)


def test_the_next_one_begins_where_the_last_ended() -> None:
    assert places(cut(made([(1, 0)] * 16, cut=6))) == [(0, 6, 16)]


def test_too_few_wait_and_time_makes_them_enough() -> None:
    few = made([(1, 0)] * 4)
    assert cut(few, minutes=59) is None
    assert places(cut(few, minutes=60)) == [(0, 0, 4)]
    assert cut(made([(1, 0)] * 2), minutes=600) is None


def test_answers_end_a_window_by_time_so_that_a_late_cut_gives_the_same() -> None:
    traffic = made([(1, minute) for minute in range(0, 200, 12)])
    at_once = cut(traffic, minutes=60)
    assert places(at_once) == [(0, 0, 5)]
    assert places(cut(traffic, minutes=10_000)) == places(at_once)


def test_a_newer_release_ends_a_window() -> None:
    draft = cut(made([(1, 0)] * 5 + [(2, 1)] * 5))
    assert draft is not None
    assert (draft.generation, draft.rows, places(draft)) == (1, 5, [(0, 0, 5)])


def test_too_few_of_an_older_release_are_cut_off_with_the_newer() -> None:
    draft = cut(made([(1, 0)] * 2 + [(2, 1)] * 8 + [(1, 2)] * 3 + [(2, 3)] * 4))
    assert draft is not None
    assert (draft.generation, draft.rows, draft.stragglers) == (2, 10, 5)
    assert draft.since == NOON + timedelta(minutes=1)


def test_what_comes_late_of_an_older_release_does_not_bring_it_back() -> None:
    draft = cut(made([(1, 0)] * 8, [(2, 9)] * 10), generation=2)
    assert draft is not None
    assert (draft.generation, draft.rows, draft.stragglers) == (2, 10, 8)


def test_stragglers_do_not_pile_up_for_ever() -> None:
    draft = cut(made([(1, 0)] * 300), generation=2)
    assert draft is not None
    assert (draft.rows, draft.stragglers) == (0, 200)


def test_a_clock_that_jumps_costs_a_short_window_at_most() -> None:
    back = made([(1, 0)] * 4 + [(1, -1e6)] * 4 + [(1, 1)] * 4)
    assert places(cut(back)) == [(0, 0, 8)]
    ahead = made([(1, 1e6)] * 4 + [(1, 1)] * 6)
    assert places(cut(ahead)) == [(0, 0, 10)]


def test_nothing_gives_no_window() -> None:
    assert cut([]) is None
    assert cut(made([], [])) is None


answers = st.lists(st.tuples(st.integers(1, 3), st.floats(-500, 500)), max_size=30)


@given(st.lists(answers, max_size=6), st.integers(1, 12), st.integers(1, 15))
def test_each_answer_is_in_one_window_in_order(segments: list[list[tuple[int, float]]], rows: int, fewest: int) -> None:
    options = WindowOptions(rows=rows, hours=1.0, fewest_rows=fewest)
    taken: list[tuple[int, int]] = []
    left, generation = made(*segments), 0
    while (draft := cut(left, generation, 10_000, options)) is not None:
        assert draft.rows + draft.stragglers == sum(part.end - part.first for part in draft.parts)
        assert draft.generation >= generation
        generation = draft.generation
        for part in draft.parts:
            place = int(part.segment, 16)
            taken += [(place, number) for number in range(part.first, part.end)]
            left[place] = (left[place][0]._replace(cut=part.end), left[place][1])
    every = [(place, number) for place, one in enumerate(segments) for number in range(len(one))]
    assert taken == every[: len(taken)]
    assert len(every) - len(taken) < max(min(fewest, rows), 1) or generation == 0 or _waits(left, generation, fewest)


def _waits(left: Segments, generation: int, fewest: int) -> bool:
    """Whether what is left has too few of one release in a row to be a window."""
    newest = max((one for pending, outline in left for one in outline.generations[pending.cut :]), default=0)
    rest = [one for pending, outline in left for one in outline.generations[pending.cut :]]
    return sum(one == max(newest, generation) for one in rest) < fewest
