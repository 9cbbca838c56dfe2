"""The split: fixed by group and salt alone, honest about what hashing cannot do."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.data.split import SPLITS, assign, check, position
from evertune.project.options import Split
from evertune.records import UnfitError

TEXT = st.text(max_size=40)


@given(TEXT, TEXT)
def test_a_position_lies_in_the_unit_interval_and_never_changes(group: str, salt: str) -> None:
    assert 0.0 <= position(group, salt) < 1.0
    assert position(group, salt) == position(group, salt)


def test_positions_are_pinned() -> None:
    # These values must never change: another hash would put rows that were trained on into the test set.
    assert position("", "evertune") == 0.5575809265483294
    assert position("document 17", "evertune") == 0.4166273305779207
    assert position("文書", "salt") == 0.05347097633961084


@given(st.lists(TEXT, unique=True), st.lists(TEXT, unique=True))
def test_rows_that_are_added_move_no_earlier_row(first: list[str], more: list[str]) -> None:
    split = Split()
    before = {group: assign(group, split) for group in first}
    after = {group: assign(group, split) for group in [*more, *first]}
    assert all(after[group] == side for group, side in before.items())


@given(TEXT, st.floats(0.01, 0.4), st.floats(0.01, 0.4), st.floats(0.01, 0.4))
def test_another_share_of_validation_leaves_the_test_rows_alone(
    group: str, test: float, one: float, other: float
) -> None:
    sides = {assign(group, Split(test=test, validation=share)) == 0 for share in (one, other)}
    assert len(sides) == 1


def test_shares_are_met_within_chance() -> None:
    sides = [assign(f"group {i}", Split(test=0.2, validation=0.1)) for i in range(20_000)]
    for number, share in enumerate((0.2, 0.1, 0.7)):
        assert sides.count(number) / 20_000 == pytest.approx(share, abs=0.012)  # 4 standard deviations


def test_another_salt_is_another_split() -> None:
    groups = [f"group {i}" for i in range(1000)]
    differ = sum(assign(g, Split(salt="a")) != assign(g, Split(salt="b")) for g in groups)
    assert differ > 300


def counts(train: list[int], validation: list[int], test: list[int]) -> dict[str, list[int]]:
    return {"train": train, "validation": validation, "test": test}


LABELS = ["bad", "good", "odd"]


def test_a_full_split_has_no_warnings() -> None:
    assert check(counts([5, 5, 5], [1, 1, 1], [2, 2, 2]), LABELS) == []


@pytest.mark.parametrize("empty", SPLITS)
def test_an_empty_split_is_refused(empty: str) -> None:
    with pytest.raises(UnfitError, match=f"No {empty} rows"):
        check(counts([5, 5, 5], [1, 1, 1], [2, 2, 2]) | {empty: [0, 0, 0]}, LABELS)


def test_a_class_that_is_never_trained_on_is_refused() -> None:
    with pytest.raises(UnfitError, match="No training rows for class 'odd'"):
        check(counts([5, 5, 0], [1, 1, 1], [2, 2, 2]), LABELS)


def test_one_class_alone_cannot_be_judged_on() -> None:
    with pytest.raises(UnfitError, match="one class"):
        check(counts([5, 5, 5], [1, 1, 1], [9, 0, 0]), LABELS)


def test_a_class_without_test_or_validation_rows_is_a_warning() -> None:
    assert check(counts([5, 5, 5], [1, 0, 0], [2, 2, 0]), LABELS) == [
        "No test rows for class 'odd': its quality is not measured.",
        "No validation rows for classes 'good', 'odd': early stopping does not look at it.",
    ]
