from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.project.conditions import read


@pytest.mark.parametrize(
    ("condition", "columns", "numbers", "texts"),
    [
        ("label == 3", ["label"], {"label"}, set()),
        ('label == "3"', ["label"], set(), {"label"}),
        ("`my column` > -3 and text != ''", ["my column", "text"], {"my column"}, {"text"}),
        ('label == 3 & text == "x & y" | a < 1', ["label", "text", "a"], {"label", "a"}, {"text"}),
        ('(a == 1) | ~(b in ["x"])', ["a", "b"], {"a"}, {"b"}),
        ("not (1 < a <= 5)", ["a"], {"a"}, set()),
        ("a * 2 > b", ["a", "b"], {"a", "b"}, set()),
        ("a.isin([1, 2]) and b.isnull()", ["a", "b"], {"a"}, set()),
        ("a.str.len() > 3", ["a"], set(), {"a"}),
        ('a.str.startswith("x")', ["a"], set(), {"a"}),
        ("sin(a) > 0 and index < 7", ["a"], {"a"}, set()),
        ("a == True", ["a"], set(), set()),
    ],
)
def test_columns_and_what_they_are_compared_with(
    condition: str, columns: list[str], numbers: set[str], texts: set[str]
) -> None:
    found = read(condition)
    assert sorted(found.columns) == sorted(columns)
    assert (set(found.numbers), set(found.texts), found.both) == (numbers, texts, ())


def test_columns_that_are_compared_with_each_other() -> None:
    assert frozenset({"a", "b"}) in read("a > b and c == 1").alike


def test_a_column_that_is_compared_with_both() -> None:
    assert read("a == 1 or a == 'x' or b == 2").both == ("a",)


@pytest.mark.parametrize(
    "condition", ["", "label ====", "a = 1", "a == @b", "(a", "a == 'x", "a == 1\nb == 2", "not " * 100_000 + "a"]
)
def test_what_is_none(condition: str) -> None:
    with pytest.raises((ValueError, SyntaxError)):
        read(condition)


@given(st.text(max_size=30) | st.lists(st.sampled_from(list("a1&|~()`'\"@ \n\\=<.[]")), max_size=15).map("".join))
def test_any_text_can_be_asked(condition: str) -> None:
    try:
        read(condition)
    except (ValueError, SyntaxError):
        return
