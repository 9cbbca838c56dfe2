"""Near duplicates: every planted one is found, nothing else goes, and the order of the rows does not matter."""

from __future__ import annotations

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evertune.data.duplicates import MISS, PERMUTATIONS, bands, near_duplicates
from evertune.data.shingles import VIEWS, near

TEST, VALIDATION, TRAIN = range(3)


def drop(
    texts: Sequence[str], splits: Sequence[int], classes: Sequence[int] | None = None, threshold: float = 0.8
) -> dict[int, int]:
    sides = np.array(splits, dtype=np.int8)
    kinds = np.zeros(len(texts), dtype=np.int32) if classes is None else np.array(classes, dtype=np.int32)
    order = np.lexsort((np.array([text.encode() for text in texts]), sides))
    return near_duplicates(texts, sides, kinds, order, threshold)


def leaks(texts: Sequence[str], splits: Sequence[int], gone: dict[int, int], threshold: float) -> list[tuple[str, str]]:
    """Pairs of rows that stay, near each other, on two sides: by comparing all with all."""
    views = [tuple(view(text) for view in VIEWS) for text in texts]
    stay = [i for i in range(len(texts)) if i not in gone]
    return [
        (texts[i], texts[j])
        for i in stay
        for j in stay
        if splits[i] < splits[j] and near(views[i], views[j], threshold)
    ]


@pytest.mark.parametrize("threshold", [0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 1.0])
def test_bands_overlook_a_pair_at_the_threshold_hardly_ever(threshold: float) -> None:
    count, rows = bands(threshold)
    assert count * rows <= PERMUTATIONS
    assert (1 - threshold**rows) ** count <= MISS


def sentence(rng: random.Random, words: int) -> str:
    return " ".join(f"w{rng.randrange(3000)}" for _ in range(words))


def edited(text: str, rng: random.Random) -> str:
    """A copy with something at its end, its start or in between."""
    words = text.split()
    kind = rng.randrange(4)
    if kind == 0:
        return text + " indeed"
    if kind == 1:
        return "well " + text.upper()
    if kind == 2:
        return text.replace(" ", ", ") + "!"
    del words[rng.randrange(len(words))]
    return " ".join(words)


def test_of_planted_leaks_none_remains() -> None:
    rng = random.Random(5)
    own = [sentence(rng, rng.randint(3, 40)) for _ in range(300)]
    planted = [edited(text, rng) for text in own[:200]]
    texts = [*own, *planted]
    splits = [rng.choice((TEST, VALIDATION, TRAIN, TRAIN, TRAIN)) for _ in texts]
    gone = drop(texts, splits)
    assert leaks(texts, splits, {}, 0.8), "nothing was planted"
    assert leaks(texts, splits, gone, 0.8) == []
    views = [tuple(view(text) for view in VIEWS) for text in texts]
    assert all(near(views[row], views[stays], 0.8) and stays not in gone for row, stays in gone.items())


LETTERS = st.text(alphabet="abc", min_size=1, max_size=2)
SENTENCES = st.lists(LETTERS, min_size=1, max_size=12).map(" ".join)


@given(st.lists(st.tuples(SENTENCES, st.integers(0, 2)), max_size=25, unique_by=lambda row: row[0]), st.randoms())
@settings(max_examples=60, deadline=None)
def test_any_rows_in_any_order_leave_no_leak_and_the_same_rows(rows: list[tuple[str, int]], rng: random.Random) -> None:
    texts, splits = [text for text, _ in rows], [side for _, side in rows]
    gone = drop(texts, splits)
    assert leaks(texts, splits, gone, 0.8) == []
    mixed = rng.sample(range(len(rows)), len(rows))
    again = drop([texts[i] for i in mixed], [splits[i] for i in mixed])
    assert {texts[row] for row in gone} == {texts[mixed[row]] for row in again}


LONG = "this is the only sentence in the whole set that speaks of a lighthouse keeper and his very old dog named"


def test_the_test_row_stays_and_then_validations() -> None:
    texts = [f"{LONG} rex", f"{LONG} rex too", f"{LONG} rex three"]
    assert drop(texts, [TRAIN, VALIDATION, TEST]) == {0: 2, 1: 2}
    assert drop(texts[:2], [TRAIN, VALIDATION]) == {0: 1}


def test_within_a_split_a_near_row_of_another_class_is_a_contrast_and_stays() -> None:
    texts = [f"{LONG} rex", f"{LONG} bob"]
    assert drop(texts, [TRAIN, TRAIN], [0, 1]) == {}
    assert drop(texts, [TRAIN, TRAIN], [1, 1]) == {0: 1}
    assert drop(texts, [TEST, TRAIN], [0, 1]) == {1: 0}


def test_what_is_near_only_a_dropped_row_stays() -> None:
    a, b, c = "a b c d e f g h i j k l", "a b c d e f g h i j k l m", "a b c d e f g h i j k l m n"
    assert drop([a, b, c], [TRAIN, TRAIN, TRAIN], threshold=0.9) == {1: 0}


def test_a_threshold_of_one_takes_only_equal_shingles() -> None:
    assert drop([f"{LONG} rex", f"{LONG.upper()}: rex!", f"{LONG} bob"], [TRAIN] * 3, threshold=1.0) == {0: 1}


@pytest.mark.parametrize("texts", [[], ["one"], ["!", "?"]])
def test_few_or_wordless_rows(texts: list[str]) -> None:
    assert drop(texts, [TRAIN] * len(texts)) == {}
