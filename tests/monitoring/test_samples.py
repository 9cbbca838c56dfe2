from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from tests.monitoring.made import LABELS, WIDTH, answers

from evertune.monitoring.samples import Sample
from evertune.records import UnfitError


def test_an_empty_sample_is_one() -> None:
    none = Sample.empty(WIDTH, LABELS)
    assert len(none) == len(none.predicted) == len(none.confidence) == len(none.labelled) == len(none.distinct) == 0
    assert len(Sample.concat([none, none])) == 0


def test_rows_go_together() -> None:
    some = answers(10)
    picked = some.take(np.array([3, 1]))
    assert picked.texts == [some.texts[3], some.texts[1]]
    assert picked.ids == [some.ids[3], some.ids[1]]
    assert (picked.embeddings == some.embeddings[[3, 1]]).all()
    assert (picked.truth == some.truth[[3, 1]]).all()


def test_parts_make_the_whole() -> None:
    some = answers(10)
    halves = [some.take(np.arange(4)), Sample.empty(WIDTH, LABELS), some.take(np.arange(4, 10))]
    whole = Sample.concat(halves)
    assert (whole.texts, whole.ids) == (some.texts, some.ids)
    assert (whole.scores == some.scores).all()


def test_ids_are_dropped_where_a_part_has_none() -> None:
    assert Sample.concat([answers(2), replace(answers(2, 1), ids=())]).ids == ()


def test_other_labels_are_another_release() -> None:
    with pytest.raises(UnfitError, match="different labels"):
        Sample.concat([answers(2), replace(answers(2), labels=("x", "y", "z"))])


def test_predicted_and_confidence_are_of_the_scores() -> None:
    some = replace(answers(2), scores=np.array([[0.2, 0.7, 0.1], [0.5, 0.1, 0.4]]))
    assert some.predicted.tolist() == [1, 0]
    assert some.confidence.tolist() == [0.7, 0.5]


def test_the_first_of_equal_texts_counts() -> None:
    some = replace(answers(4), texts=["x", "y", "x", "z"])
    assert some.distinct.ids == [some.ids[0], some.ids[1], some.ids[3]]


def test_unlabelled_rows_are_no_labelled_rows() -> None:
    some = replace(answers(3), truth=np.array([0, -1, 2]))
    assert some.labelled.truth.tolist() == [0, 2]


@pytest.mark.parametrize("fault", ["embeddings", "scores", "truth", "weights", "ids"])
def test_columns_of_other_lengths_are_refused(fault: str) -> None:
    some = answers(3)
    with pytest.raises(UnfitError, match="3 texts"):
        replace(some, **{fault: getattr(some, fault)[:2]})
