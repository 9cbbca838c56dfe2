"""What counts as near: words, characters where words are not spaced, characters of short texts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.data.shingles import VIEWS, characters, jaccard, near, units, words


def alike(left: str, right: str, threshold: float = 0.8) -> bool:
    return near(tuple(view(left) for view in VIEWS), tuple(view(right) for view in VIEWS), threshold)


def test_words_are_casefolded_and_without_punctuation() -> None:
    assert units("Well, THIS is it: Straße!") == ["well", "this", "is", "it", "strasse"]
    assert words("The best phone.") == {"the best", "best phone"}
    assert words("phone") == {"phone"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("我喜欢", ["我", "喜", "欢"]),
        ("電話がほしい", ["電", "話", "が", "ほ", "し", "い"]),
        ("iPhone电池good", ["iphone", "电", "池", "good"]),
        ("한국어 문장", ["한국어", "문장"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),  # vowel signs belong to their word
        ("naïve café", ["naïve", "café"]),
        ("שָׁלוֹם", ["שָׁלוֹם"]),
    ],
)
def test_units_follow_the_script(text: str, expected: list[str]) -> None:
    assert units(text) == expected


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_ascii_texts_take_a_short_cut_to_the_same_units(text: str) -> None:
    assert units(text) == units(f"{text} 我")[:-1]


def test_thai_is_taken_by_characters() -> None:
    assert len(units("ภาษาไทย")) == 7


def test_a_text_without_words_is_its_own_shingle() -> None:
    assert words("!!!") == {"!!!"}
    assert words("🙂🙂") != words("🙁🙁")
    assert characters("!!!") == frozenset()


def test_only_short_texts_have_a_view_by_characters() -> None:
    assert characters("piece of junk")
    assert characters("one two three four five six seven eight nine") == frozenset()
    assert characters("ok") == {"ok"}


def test_jaccard_is_the_share_of_common_shingles() -> None:
    assert jaccard(frozenset("abcd"), frozenset("bcde")) == 3 / 5
    assert jaccard(frozenset(), frozenset()) == 0.0


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("I'm still waiting for my card", "i am still waiting for my card!", True),  # short: by characters
        ("the battery lasts very long", "the battery lasts very lomg", True),  # a typing error in a short text
        ("the picture is sharp", "the picture was blurred", False),
        (
            "这个手机的电池非常好用我很喜欢它的屏幕和声音效果",
            "这个手机的电池非常好用我很喜欢它的屏幕和声音效果啊",
            True,
        ),
        ("这个手机的电池非常好用", "那家餐厅的服务实在太差", False),
        (
            "i bought this camera two years ago and it still works as well as on the first day",
            "i bought this camera two years ago and it still works as well as on the first day of all",
            True,
        ),
    ],
)
def test_near_in_either_view(left: str, right: str, same: bool) -> None:
    assert alike(left, right) is same
    assert alike(right, left) is same
    assert alike(left, left)
