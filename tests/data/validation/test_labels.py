from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from evertune.data.validation.labels import NONE, Labels, apply, nearest, number
from evertune.project.options import LabelRule


def applied(rule: dict[str, Any], values: list[str | None]) -> Labels:
    return apply(LabelRule.model_validate(rule), pa.array(values, pa.string()))


def test_named_classes_keep_the_order_of_the_rule_and_know_no_others() -> None:
    labels = applied({"classes": ["spam", "ham"]}, ["ham", "spam", "eggs", None, " ham\t"])
    assert labels.classes == ("spam", "ham")
    assert labels.codes.tolist() == [1, 0, NONE, NONE, 1]
    assert labels.values.to_pylist() == ["ham", "spam", "eggs", None, "ham"]
    assert not labels.ambiguous.any()


CUTS = {"cuts": [{"label": "negative", "below": -0.5}, {"label": "positive", "at_least": 0.5}]}


def test_cuts_are_closed_below_and_open_above_and_leave_the_rest_out() -> None:
    labels = applied(CUTS, ["-0.5", "-0.51", "0.5", "0", "4", None])
    assert labels.codes.tolist() == [NONE, 0, 1, NONE, 1, NONE]
    assert labels.ambiguous.tolist() == [True, False, False, True, False, False]
    assert not labels.not_a_number.any()


@pytest.mark.parametrize("value", ["good", "1,5", "nan", "inf", "1.2.3", "0x1F"])
def test_what_is_no_finite_number_is_of_the_wrong_type_and_not_ambiguous(value: str) -> None:
    labels = applied(CUTS, ["1", value])
    assert labels.not_a_number.tolist() == [False, True]
    assert labels.ambiguous.tolist() == [False, False]
    assert labels.codes.tolist() == [1, NONE]


def test_two_ranges_may_bear_one_label() -> None:
    low, middle = {"label": "odd", "below": 0}, {"label": "even", "at_least": 0, "below": 1}
    rule = {"cuts": [low, middle, {"label": "odd", "at_least": 1}]}
    labels = applied(rule, ["-1", "0.5", "2"])
    assert labels.classes == ("odd", "even")
    assert labels.codes.tolist() == [0, 1, 0]


def test_without_a_rule_every_label_seen_is_a_class() -> None:
    labels = applied({}, ["b", "a", "b", None, ""])
    assert labels.classes == ("a", "b")
    assert labels.codes.tolist() == [1, 0, 1, NONE, NONE]


def test_equal_labels_of_other_code_points_are_one_class() -> None:
    assert applied({}, ["café", "café"]).classes == ("café",)
    assert applied({"classes": ["café", "tea"]}, ["café"]).codes.tolist() == [0]


def test_an_empty_column_has_no_classes() -> None:
    labels = apply(LabelRule(), pa.chunked_array([], pa.string()))
    assert labels.classes == ()
    assert len(labels.codes) == len(labels.values) == 0


def test_the_nearest_class_whatever_its_case() -> None:
    assert nearest("POSITVE", ["negative", "Positive"]) == "Positive"
    assert nearest("quite another", ["ham", "spam"]) is None


def test_number() -> None:
    assert number("1e3") == 1000
    assert number("") != number("")
