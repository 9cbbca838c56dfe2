from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import f1_score
from tests.models import tiny

from evertune import files
from evertune.models import bundle, classifier
from evertune.project.options import CustomPattern, Redaction

TEXTS = [words for words, _ in tiny.sentences(40, seed=5)] + ["", "good", " ".join(tiny.WORDS * 5)]


def test_answers_are_probabilities_in_the_order_of_the_texts(made: Path) -> None:
    model = classifier.load(made, files.digest(made))
    found = model.probabilities(TEXTS)
    assert found.dtype == np.float32
    assert found.shape == (len(TEXTS), 2)
    np.testing.assert_allclose(found.sum(1), 1, atol=1e-6)
    for place in (0, 7, len(TEXTS) - 1):
        np.testing.assert_allclose(model.probabilities([TEXTS[place]])[0], found[place], atol=1e-5)
    assert found.std(0).min() > 1e-3


def test_answers_are_those_of_the_model_with_the_temperature(made: Path) -> None:
    model = classifier.load(made)
    ids = tiny.tokenizer().encode(TEXTS[0]).ids
    with torch.no_grad():
        logits = tiny.classifier()(torch.tensor([ids])).logits[0]
    expected = torch.softmax(logits / 2.0, 0).numpy()
    np.testing.assert_allclose(model.probabilities([TEXTS[0]])[0], expected, atol=1e-5)


def test_the_same_call_gives_the_same_bits(made: Path) -> None:
    one, two = classifier.load(made), classifier.load(made)
    assert np.array_equal(one.probabilities(TEXTS), two.probabilities(TEXTS))
    assert np.array_equal(one.embeddings(TEXTS), two.embeddings(TEXTS))


def test_a_small_budget_changes_nothing_but_the_last_digits(made: Path) -> None:
    model = classifier.load(made)
    np.testing.assert_allclose(model.probabilities(TEXTS, 16), model.probabilities(TEXTS), atol=1e-5)


def test_no_texts_no_answers(made: Path) -> None:
    model = classifier.load(made)
    assert model.probabilities([]).shape == (0, 2)
    assert model.embeddings([]).shape == (0, 32)


def test_texts_are_redacted_and_normalised_as_in_training(tmp_path: Path, base: Path) -> None:
    redaction = Redaction(custom=(CustomPattern(name="customer", pattern=r"\bC\d{4}\b"),))
    bundle.write(tmp_path / "bundle", tiny.classifier(), base, tiny.LABELS, 32, redaction=redaction)
    found = classifier.load(tmp_path / "bundle").embeddings(
        ["it was C1234", "it was <customer>", "ask\u00a0me@example.com\x00", "ask <email>", "it was C12345"]
    )
    assert np.array_equal(found[0], found[1])
    assert np.array_equal(found[2], found[3])
    assert not np.allclose(found[0], found[4], atol=1e-3)


def test_threads_stay_as_the_process_has_set_them(made: Path) -> None:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        classifier.load(made).probabilities(TEXTS)
        assert torch.get_num_threads() == 1
    finally:
        torch.set_num_threads(before)


def test_softmax_of_huge_logits_is_finite() -> None:
    found = classifier.softmax(np.array([[1e4, -1e4]], np.float32), 0.1)
    np.testing.assert_array_equal(found, [[1.0, 0.0]])


@pytest.mark.usefixtures("made")
def test_reading_transformers_quietly_gives_its_voice_back() -> None:
    from transformers.utils import logging

    before = logging.get_verbosity()
    with classifier.quiet():
        assert logging.get_verbosity() == logging.ERROR
    assert logging.get_verbosity() == before


@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=50))
def test_macro_f1_is_that_of_scikit_learn(rows: list[tuple[int, int]]) -> None:
    truth, answered = (np.array(column) for column in zip(*rows, strict=True))
    wanted = f1_score(truth, answered, average="macro", zero_division=0.0)
    assert classifier.macro_f1(truth, answered, 4) == pytest.approx(wanted)
    assert classifier.macro_f1(truth, truth, 9) == 1.0  # classes that nobody names do not count
