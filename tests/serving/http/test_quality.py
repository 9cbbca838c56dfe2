"""Rolling scores: the same numbers as scikit-learn's, over the right labels."""

from __future__ import annotations

import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import accuracy_score, precision_recall_fscore_support

from evertune.serving.http.quality import MOST, SPAN, Label, Quality, Window, scores

NOW = datetime(2026, 11, 22, tzinfo=UTC)


def _label(number: int, truth: str = "a", predicted: str = "a", generation: int = 1, at: datetime = NOW) -> Label:
    return Label(str(number), generation, truth, predicted, at)


@settings(deadline=None)
@given(st.lists(st.tuples(st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1, max_size=60))
def test_scores_are_those_of_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    found = scores(Counter(pairs))
    truth, predicted = zip(*pairs, strict=True)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected = precision_recall_fscore_support(truth, predicted, average="macro", zero_division=0)[:3]
    assert found is not None
    assert found.labelled == len(pairs)
    assert found.accuracy == pytest.approx(accuracy_score(truth, predicted))
    assert found[2:] == pytest.approx(expected)


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 9), st.sampled_from("abcd"), st.sampled_from("abcd")), min_size=1))
def test_each_point_of_the_history_has_the_f1_of_all_that_counts_then(
    given_labels: list[tuple[int, str, str]],
) -> None:
    """The same answers are labelled again, and what is old goes."""
    quality = Quality()
    for number, (id_, truth, predicted) in enumerate(given_labels):
        at = NOW + number * SPAN / 4
        quality.add("reviews", _label(id_, truth, predicted, at=at))
        now, point = quality.now("reviews", at)[1], quality.history("reviews", at)[-1]
        assert point.labelled == now.labelled
        assert point.f1 == pytest.approx(now.f1)


def test_a_label_is_counted_without_a_look_at_all_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that starts reads those of a week, and its loop waits for that."""
    looks: list[object] = []
    monkeypatch.setattr("evertune.serving.http.quality.scores", looks.append)
    quality = Quality()
    quality.rebuild("reviews", [_label(number, str(number % 77), str(number % 76)) for number in range(2 * MOST)])
    quality.add("reviews", _label(0))
    assert looks == []
    assert quality.history("reviews", NOW)[-1].labelled == MOST


def test_without_labels_there_are_no_scores() -> None:
    assert scores(Counter()) is None
    assert Quality().now("reviews", NOW) == {}
    assert Quality().history("reviews", NOW) == []


def test_of_one_prediction_the_last_label_counts() -> None:
    quality = Quality()
    quality.add("reviews", _label(1, truth="b"))
    quality.add("reviews", _label(1, truth="a"))
    found = quality.now("reviews", NOW)[1]
    assert (found.labelled, found.accuracy) == (1, 1.0)


def test_whose_label_it_is_counts_before_when_it_was_given() -> None:
    quality = Quality()
    for truth, rank, accuracy in (("b", 2, 0.0), ("a", 1, 1.0), ("b", 2, 1.0), ("b", 0, 0.0), ("a", 1, 0.0)):
        quality.add("reviews", _label(1, truth=truth)._replace(rank=rank))
        assert quality.now("reviews", NOW)[1].accuracy == accuracy


def test_a_label_counts_the_same_whenever_it_comes_and_however_often() -> None:
    labels = [
        _label(1, "a", at=NOW - timedelta(minutes=3)),
        _label(1, "b", at=NOW - timedelta(minutes=2)),
        _label(2, "b", at=NOW - timedelta(minutes=1))._replace(rank=1),
        _label(2, "a", at=NOW),
        _label(3, "b", at=NOW - timedelta(minutes=4), generation=2),
    ]
    in_order, late = Quality(), Quality()
    for label in labels:
        in_order.add("reviews", label)
    for label in [*labels, *labels[::-1]]:
        late.add("reviews", label)
    assert late.now("reviews", NOW) == in_order.now("reviews", NOW)
    assert late.now("reviews", NOW)[1].accuracy == 0.5
    points = [point.at for point in late.history("reviews", NOW)]
    assert points == sorted(points)


def test_a_label_that_is_counted_again_is_no_younger_by_that() -> None:
    quality = Quality()
    for number in range(MOST):
        quality.add("reviews", _label(number, truth="b" if number == 0 else "a"))
    quality.add("reviews", _label(0, truth="b"))
    quality.add("reviews", _label(MOST))
    assert quality.now("reviews", NOW)[1].accuracy == 1.0


def test_a_picked_answer_never_counts_whoever_labels_it_and_when() -> None:
    quality = Quality()
    picked = _label(1)._replace(picked=True)
    quality.add("reviews", picked)
    assert quality.now("reviews", NOW) == {}
    for label in (_label(1, "b"), picked, _label(1, "b"), _label(2)):
        quality.add("reviews", label)
    assert quality.now("reviews", NOW)[1].labelled == 1
    quality.rebuild("reviews", [_label(1, "b"), _label(3)])
    assert quality.now("reviews", NOW)[1].labelled == 2
    for number in range(MOST + 5):
        quality.add("reviews", _label(10 + number)._replace(picked=True))
    assert quality.now("reviews", NOW)[1].labelled == 2, "those that do not count push none out that do"


def test_releases_and_projects_are_counted_apart() -> None:
    quality = Quality()
    quality.add("reviews", _label(1, truth="b", generation=1))
    quality.add("reviews", _label(2, generation=2))
    quality.add("news", _label(3))
    assert {number: one.accuracy for number, one in quality.now("reviews", NOW).items()} == {1: 0.0, 2: 1.0}
    assert quality.now("news", NOW)[1].labelled == 1


def test_the_last_thousand_labels_count() -> None:
    quality = Quality()
    for number in range(MOST + 500):
        quality.add("reviews", _label(number, truth="b" if number < 500 else "a"))
    found = quality.now("reviews", NOW)[1]
    assert (found.labelled, found.accuracy) == (MOST, 1.0)


def test_labels_of_the_last_seven_days_count() -> None:
    quality = Quality()
    quality.add("reviews", _label(1, truth="b", at=NOW - SPAN))
    quality.add("reviews", _label(2, at=NOW))
    assert quality.now("reviews", NOW)[1].labelled == 2
    assert quality.now("reviews", NOW + timedelta(seconds=1))[1].labelled == 1
    assert quality.now("reviews", NOW + SPAN + timedelta(seconds=1)) == {}


def test_what_the_log_has_is_put_before_what_came_meanwhile() -> None:
    quality = Quality()
    quality.add("reviews", _label(1, truth="a", at=NOW))
    past = [_label(1, truth="b", at=NOW - timedelta(hours=1)), _label(2, truth="b", at=NOW - timedelta(hours=2))]
    quality.rebuild("reviews", past)
    found = quality.now("reviews", NOW)[1]
    assert (found.labelled, found.accuracy) == (2, 0.5)


def test_the_history_is_thinned_bounded_and_ends_with_now() -> None:
    quality = Quality()
    for number in range(5000):
        quality.add("reviews", _label(number, at=NOW + timedelta(seconds=20 * number)))
    end = NOW + timedelta(seconds=20 * 4999)
    points = quality.history("reviews", end)
    assert len(points) <= 200
    assert points[-1].at == end
    assert points == sorted(points)
    assert quality.history("reviews", end + SPAN + SPAN) == []


def test_labels_within_seconds_are_one_point() -> None:
    quality = Quality()
    for number in range(50):
        quality.add("reviews", _label(number, truth="b", at=NOW + timedelta(seconds=number / 10)))
    (point,) = quality.history("reviews", NOW)
    assert (point.f1, point.labelled) == (0.0, 50)


def test_picked_answers_are_remembered_within_bounds() -> None:
    window = Window()
    for number in range(MOST + 5):
        window.add(_label(number)._replace(picked=True))
    assert [label.prediction_id for label in window] == [str(number) for number in range(5, MOST + 5)]


def test_windows_of_releases_that_are_long_gone_go_though_nobody_asks_for_scores() -> None:
    quality = Quality()
    for generation in range(1, 30):
        quality.add("reviews", _label(generation, generation=generation, at=NOW + generation * timedelta(days=1)))
    assert len(quality._projects["reviews"].windows) <= SPAN.days + 2
