from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evertune.serving.engine import explain


@given(st.text(max_size=200), st.integers(1, 20))
def test_words_stand_where_they_say_and_variants_leave_out_one_each(text: str, most: int) -> None:
    found = explain.words(text, most)
    assert [word.text for word in found] == text.split()[:most] or not text.isprintable()
    for word, without in zip(found, explain.variants(text, found), strict=True):
        assert text[word.start : word.end] == word.text
        assert len(without) <= len(text) - len(word.text)


def test_a_weight_is_what_the_labels_log_odds_lose() -> None:
    found = explain.words("a good film", 10)
    whole = np.array([0.2, 0.8], np.float32)
    without = np.array([[0.2, 0.8], [0.8, 0.2], [0.1, 0.9]], np.float32)
    weights = explain.weights(found, whole, without)
    assert [one.word for one in weights] == ["a", "good", "film"]
    assert [one.weight for one in weights] == pytest.approx([0, 2 * np.log(4), np.log(4) - np.log(9)], abs=1e-5)


def test_certain_answers_have_finite_weights_and_no_words_have_none() -> None:
    found = explain.words("sure", 10)
    weights = explain.weights(found, np.array([0, 1], np.float32), np.array([[1, 0]], np.float32))
    assert np.isfinite(weights[0].weight)
    assert explain.weights([], np.array([0.5, 0.5], np.float32), None) == ()
