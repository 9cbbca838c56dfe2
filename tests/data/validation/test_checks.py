from __future__ import annotations

from evertune.data.validation.checks import shorten, unknown


def test_a_text_becomes_one_short_line() -> None:
    assert shorten("two\nlines\x00") == '"two lines "'
    assert shorten("x" * 100, 10) == f'"{"x" * 10}…"'
    assert shorten(1.5) == "1.5"


def test_an_unknown_label_is_told_with_the_nearest_and_not_with_a_thousand() -> None:
    classes = tuple(f"class {i}" for i in range(1000))
    said = unknown("clas 77", classes)
    assert said.startswith('"clas 77" is none of class 0, class 1')
    assert "(1000 classes)" in said
    assert "the nearest is class 77" in said
    assert len(unknown("x" * 100_000, classes)) < 300
