from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.models import tiny

from evertune.serving.engine import explain
from evertune.text import spans

WORDPIECE = tiny.tokenizer()


def found_in(text: str, most: int = 64) -> list[explain.Word]:
    return explain.words(text, spans(WORDPIECE, text, most))


@given(st.text(max_size=200) | st.text("good \n\tbadç电影", max_size=80), st.integers(3, 20))
def test_words_stand_where_they_say_and_variants_leave_out_one_each(text: str, most: int) -> None:
    found = found_in(text, most)
    assert len(found) <= most - 2, "each is a token at least"
    assert [word.start for word in found] == sorted(word.start for word in found)
    for word, without in zip(found, explain.variants(text, found), strict=True):
        assert text[word.start : word.end] == word.text
        assert word.text.strip()
        assert len(without) <= found[-1].end - len(word.text)


@given(st.lists(st.sampled_from([*tiny.WORDS, "unheard-of"]), max_size=8), st.sampled_from([" ", "\n", " \t "]))
def test_words_between_spaces_stay_whole(words: list[str], space: str) -> None:
    assert [word.text for word in found_in(space.join(words))] == words


def test_where_there_are_no_spaces_each_token_is_a_word() -> None:
    found = found_in("电影好看 good 很")
    assert [word.text for word in found] == ["电", "影", "好", "看", "good", "很"]
    assert explain.variants("电影好看 good 很", found)[1:5] == [
        "电好看 good 很", "电影看 good 很", "电影好 good 很", "电影好看 很",
    ]  # fmt: skip
    bytes_of_thai = [(0, 1), (0, 1), (1, 2), (2, 3), (3, 4), (3, 4)]
    assert [word.text for word in explain.words("ก็ดี", bytes_of_thai)] == ["ก็", "ดี"]


def test_a_space_that_a_tokenizer_gives_to_a_word_is_none_of_it() -> None:
    found = explain.words("a fine film", [(0, 1), (1, 6), (6, 8), (8, 11)])
    assert [(word.text, word.start) for word in found] == [("a", 0), ("fine", 2), ("film", 7)]


def test_what_the_model_does_not_see_is_in_no_variant() -> None:
    text = "good bad fine awful"
    found = found_in(text, 5)
    assert [word.text for word in found] == ["good", "bad", "fine"]
    assert explain.variants(text, found) == ["bad fine", "good fine", "good bad"]


def test_a_weight_is_what_the_labels_log_odds_lose() -> None:
    found = found_in("a good film")
    whole = np.array([0.2, 0.8], np.float32)
    without = np.array([[0.2, 0.8], [0.8, 0.2], [0.1, 0.9]], np.float32)
    weights = explain.weights(found, whole, without)
    assert [one.word for one in weights] == ["a", "good", "film"]
    assert [one.weight for one in weights] == pytest.approx([0, 2 * np.log(4), np.log(4) - np.log(9)], abs=1e-5)


def test_certain_answers_have_finite_weights_and_no_words_have_none() -> None:
    found = found_in("sure")
    weights = explain.weights(found, np.array([0, 1], np.float32), np.array([[1, 0]], np.float32))
    assert np.isfinite(weights[0].weight)
    assert explain.weights([], np.array([0.5, 0.5], np.float32), None) == ()
