import random
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from evertune.data.picking import picked


@given(st.lists(st.integers(0, 30).map(str), min_size=1), st.integers(1, 60), st.randoms())
def test_the_pick_does_not_depend_on_the_order(groups: list[str], rows: int, chance: random.Random) -> None:
    shuffled = groups.copy()
    chance.shuffle(shuffled)
    assert picked(groups, rows) == picked(shuffled, rows)


@given(st.lists(st.integers(0, 30).map(str), min_size=1), st.integers(1, 200))
def test_about_as_many_rows_as_wanted_and_no_group_torn(groups: list[str], rows: int) -> None:
    pick = picked(groups, rows)
    sizes = Counter(groups)
    drawn = sum(size for group, size in sizes.items() if pick.has(group))
    assert drawn >= 1
    assert abs(drawn - min(rows, len(groups))) <= max(sizes.values())


def test_more_than_there_is_takes_all() -> None:
    groups = [str(number % 7) for number in range(100)]
    assert all(picked(groups, 1000).has(group) for group in groups)


def test_a_larger_pick_holds_the_smaller_one() -> None:
    groups = [str(number) for number in range(1000)]
    small, large = picked(groups, 100), picked(groups, 200)
    assert sum(map(small.has, groups)) == 100
    assert all(large.has(group) for group in groups if small.has(group))


def test_nothing_to_pick_from() -> None:
    assert not picked([], 5).has("a")
