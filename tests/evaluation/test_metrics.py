import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from evertune.evaluation import metrics
from evertune.project.options import Metric
from evertune.records import UnfitError

Case = tuple[tuple[str, ...], NDArray[np.int64], NDArray[np.float32]]


@st.composite
def cases(draw: Any) -> Case:
    classes, rows = draw(st.integers(2, 6)), draw(st.integers(1, 60))
    truth = draw(hnp.arrays(np.int64, rows, elements=st.integers(0, classes - 1)))
    raw = draw(hnp.arrays(np.float64, (rows, classes), elements=st.floats(0.001, 1.0)))
    return tuple("abcdef"[:classes]), truth, (raw / raw.sum(axis=1, keepdims=True)).astype(np.float32)


@given(cases())
@settings(max_examples=25, deadline=None)
def test_scores_are_those_of_scikit_learn(case: Case) -> None:
    from sklearn import metrics as peer

    labels, truth, probabilities = case
    answer, classes = probabilities.argmax(axis=1), range(len(labels))
    found = metrics.score(labels, truth, probabilities)
    options: dict[str, Any] = {"average": "macro", "zero_division": 0}
    assert found.accuracy == pytest.approx(peer.accuracy_score(truth, answer))
    assert found.f1 == pytest.approx(peer.f1_score(truth, answer, **options))
    assert found.precision == pytest.approx(peer.precision_score(truth, answer, **options))
    assert found.recall == pytest.approx(peer.recall_score(truth, answer, **options))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # rows that sum to 1 but for the last bit
        assert found.log_loss == pytest.approx(peer.log_loss(truth, probabilities, labels=classes), rel=1e-5, abs=1e-6)
    assert np.array_equal(found.confusion, peer.confusion_matrix(truth, answer, labels=classes))
    by_class = peer.precision_recall_fscore_support(truth, answer, labels=classes, zero_division=0)
    for label, expected in zip(labels, np.transpose(by_class), strict=True):
        there = found.per_class[label]
        assert (there.precision, there.recall, there.f1, there.support) == pytest.approx(tuple(expected))


@given(cases())
@settings(max_examples=60, deadline=None)
def test_laws(case: Case) -> None:
    labels, truth, probabilities = case
    found = metrics.score(labels, truth, probabilities)
    assert sum(map(sum, found.confusion)) == found.rows == len(truth)
    assert [sum(row) for row in found.confusion] == [found.per_class[label].support for label in labels]
    assert 0 <= found.calibration_error <= 1
    order = np.random.default_rng(0).permutation(len(truth))
    again = metrics.score(labels, truth[order], probabilities[order])
    assert again.confusion == found.confusion
    assert again.calibration_error == pytest.approx(found.calibration_error)


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy() -> None:
    # Ten rows answered with 0.8, of which 6 are right; ten with 0.6, all right.
    probabilities = np.array([[0.8, 0.2]] * 10 + [[0.6, 0.4]] * 10, np.float32)
    truth = np.array([0] * 6 + [1] * 4 + [0] * 10)
    assert metrics.score(("a", "b"), truth, probabilities).calibration_error == pytest.approx((0.2 + 0.4) / 2)


def test_an_impossible_class_costs_much_but_not_everything() -> None:
    found = metrics.score(("a", "b"), np.array([1]), np.array([[1.0, 0.0]], np.float32))
    assert found.log_loss == pytest.approx(15.94, abs=0.01)


def test_features_of_parts_add_up_to_the_whole() -> None:
    rng = np.random.default_rng(1)
    truth, probabilities = rng.integers(0, 3, 50), rng.dirichlet(np.ones(3), 50).astype(np.float32)
    for metric in Metric:
        whole = metrics.features(metric, truth, probabilities).sum(axis=0)
        parts = [
            metrics.features(metric, truth[part], probabilities[part]).sum(axis=0)
            for part in (slice(20), slice(20, 50))
        ]
        assert np.allclose(whole, sum(parts))


@pytest.mark.parametrize(
    ("truth", "probabilities", "told"),
    [
        ([0, 1], [[0.5, 0.5]], "shape"),
        ([], np.zeros((0, 2)), "at least one row"),
        ([0], [[np.nan, 1.0]], "learning_rate"),
        ([2], [[0.5, 0.5]], "outside"),
    ],
)
def test_what_cannot_be_scored_is_refused(truth: Any, probabilities: Any, told: str) -> None:
    with pytest.raises(UnfitError, match=told):
        metrics.score(("a", "b"), np.array(truth, np.int64), np.array(probabilities, np.float32))


@given(cases(), st.randoms(use_true_random=False))
@settings(max_examples=25, deadline=None)
def test_weighted_scores_are_those_of_scikit_learn(case: Case, random: Any) -> None:
    from sklearn import metrics as peer

    labels, truth, probabilities = case
    weights = np.array([random.uniform(0.05, 8) for _ in truth])
    found, answer = metrics.score(labels, truth, probabilities, weights), probabilities.argmax(axis=1)
    options: dict[str, Any] = {"average": "macro", "zero_division": 0, "sample_weight": weights}
    assert found.accuracy == pytest.approx(peer.accuracy_score(truth, answer, sample_weight=weights))
    assert found.f1 == pytest.approx(peer.f1_score(truth, answer, **options))
    assert found.recall == pytest.approx(peer.recall_score(truth, answer, **options))
    assert found.rows == len(truth) == sum(one.support for one in found.per_class.values())


@given(cases())
@settings(max_examples=10, deadline=None)
def test_equal_weights_are_no_weights(case: Case) -> None:
    assert metrics.score(*case, np.ones(len(case[1]))) == metrics.score(*case)
