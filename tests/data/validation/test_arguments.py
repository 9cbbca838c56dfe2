"""What the arguments of expectations cannot be is found without a run: in `evertune validate`."""

from __future__ import annotations

from typing import Any

import pytest

from evertune.data.validation.arguments import build, unfit
from evertune.project.across import Crossed

from .test_expectations import MET

pytestmark = pytest.mark.integration

TEXT, SCORE = {"column": "text"}, {"column": "score"}
PAIR = {"column_A": "text", "column_B": "label"}
BETWEEN = "expect_column_values_to_be_between"
LENGTHS = "expect_column_value_lengths_to_be_between"
REGEX, REGEXES = "expect_column_values_to_match_regex", "expect_column_values_to_match_regex_list"
IN_SET = "expect_column_values_to_be_in_set"
QUANTILES = "expect_column_quantile_values_to_be_between"
DIVERGENCE = "expect_column_kl_divergence_to_be_less_than"
ROWS, QUERY = "unexpected_rows_expectation", "unexpected_rows_query"
UNIQUE = "expect_column_values_to_be_unique"
COMPOUND = "expect_compound_columns_to_be_unique"


def told(name: str, arguments: dict[str, Any]) -> list[tuple[str, str]]:
    return [(".".join(map(str, one.place[4:])), one.message) for one in crossed(name, arguments)]


def crossed(name: object, arguments: object) -> list[Crossed]:
    return list(unfit({"validation": {"expectations": [{"name": name, "arguments": arguments}]}}))


FAULTS: list[tuple[str, dict[str, Any], str, str]] = [
    # types
    (BETWEEN, {**SCORE, "min_value": "abc"}, "min_value", 'expected a number or a date or a date with a time; found'),
    (BETWEEN, {**SCORE, "min_value": [1]}, "min_value", "expected a number; found a list of 1"),
    (BETWEEN, {"column": 3, "min_value": 1}, "column", "expected a text; found 3"),
    (BETWEEN, {**SCORE, "min_value": 1, "strict_min": "maybe"}, "strict_min", "expected true or false"),
    (LENGTHS, {**TEXT, "min_value": "abc"}, "min_value", "expected a whole number"),
    ("expect_column_value_lengths_to_equal", {**TEXT, "value": "abc"}, "value", "expected a number"),
    ("expect_column_mean_to_be_between", {**SCORE, "min_value": "abc"}, "min_value", "expected a number"),
    ("expect_column_stdev_to_be_between", {**SCORE, "max_value": "abc"}, "max_value", "expected a number"),
    ("expect_table_row_count_to_equal", {"value": "abc"}, "value", "expected a whole number"),
    ("expect_multicolumn_sum_to_equal", {"column_list": ["a", "b"], "sum_total": "x"}, "sum_total", "a number"),
    ("expect_column_to_exist", {**TEXT, "column_index": "first"}, "column_index", "expected a whole number"),
    (IN_SET, {**TEXT, "value_set": 3}, "value_set", "expected a list; found 3"),
    (IN_SET, {**TEXT, "value_set": "abc"}, "value_set", 'expected a list; found "abc"'),
    (IN_SET, {**TEXT, "value_set": None}, "value_set", "expected a value; found nothing"),
    ("expect_column_pair_values_to_be_in_set", {**PAIR, "value_pairs_set": ["a"]}, "value_pairs_set.0", "a list; fou"),
    (COMPOUND, {"column_list": "text"}, "column_list", "expected a list"),
    ("expect_table_columns_to_match_set", {"column_set": 3}, "column_set", "expected a list"),
    ("expect_column_values_to_match_json_schema", {**TEXT, "json_schema": "x"}, "json_schema", "expected a block"),
    (QUANTILES, {**SCORE, "quantile_ranges": [1]}, "quantile_ranges", "expected a block"),
    # ranges and choices
    (BETWEEN, {**SCORE, "min_value": 1, "mostly": 7}, "mostly", "expected at most 1; found 7"),
    (BETWEEN, {**SCORE, "min_value": 1, "mostly": -1}, "mostly", "expected at least 0; found -1"),
    (BETWEEN, {**SCORE, "min_value": 1, "mostly": "a lot"}, "mostly", "expected a number"),
    (REGEXES, {**TEXT, "regex_list": ["a"], "match_on": "some"}, "match_on", "expected one of any, all"),
    (UNIQUE, {**TEXT, "severity": "huge"}, "severity", "expected one of critical, warning, info"),
    (COMPOUND, {"column_list": ["a", "b"], "ignore_row_if": "x"}, "ignore_row_if", "one of all_values_are_missing, "),
    (COMPOUND, {"column_list": ["a"]}, "column_list", "at least two columns"),
    ("expect_column_values_to_match_like_pattern", {**TEXT, "like_pattern": "a", "escape": "ab"}, "escape", "single"),
    (REGEXES, {**TEXT, "regex_list": []}, "regex_list", "must not be empty"),
    # what Great Expectations takes, and cannot judge or judges for something else
    (BETWEEN, {**SCORE, "min_value": "5"}, "min_value", "expected a number (without quotes)"),
    (BETWEEN, {**SCORE, "min_value": True}, "min_value", "expected a number"),
    (BETWEEN, {**SCORE, "min_value": 5, "max_value": 1}, "max_value", "expected at least min_value, which is 5"),
    (BETWEEN, {**SCORE, "min_value": 1, "strict_min": 1}, "strict_min", "expected true or false"),
    (BETWEEN, {**SCORE, "min_value": {"$PARAMETER": "low"}}, "min_value", "expected a value, not a block"),
    (IN_SET, {**TEXT, "value_set": {"a": 1}}, "value_set", "expected a value, not a block"),
    (DIVERGENCE, {**TEXT, "threshold": 1, "partition_object": {"$PARAMETER": "x"}}, "partition_object", "not a block"),
    (LENGTHS, {**TEXT, "min_value": 1.5}, "min_value", "expected a whole number; found 1.5"),
    (REGEX, {**TEXT, "regex": "["}, "regex", "expected a regular expression ('[' is none"),
    (REGEX, {**TEXT, "regex": 5}, "regex", "expected a text (in quotes)"),
    (REGEX, {**TEXT, "regex": ["a"]}, "regex", "expected a text"),
    (REGEXES, {**TEXT, "regex_list": ["a", "["]}, "regex_list", "expected a regular expression"),
    ("expect_column_values_to_match_strftime_format", {**TEXT, "strftime_format": "%Q"}, "strftime_format", "bad"),
    ("expect_column_values_to_match_json_schema", {**TEXT, "json_schema": {"type": "x"}}, "json_schema", "JSON schema"),
    ("expect_column_values_to_be_of_type", {**TEXT, "type_": "x"}, "type_", "expected a type of Python"),
    ("expect_column_values_to_be_in_type_list", {**TEXT, "type_list": ["str", "x"]}, "type_list", "'x' is none"),
    (QUANTILES, {**SCORE, "quantile_ranges": {"quantiles": [7], "value_ranges": [[1, 2]]}}, "quantile_ranges", "to 1"),
    (QUANTILES, {**SCORE, "quantile_ranges": {"quantiles": [1], "value_ranges": [[1]]}}, "quantile_ranges", "a list"),
    (QUANTILES, {**SCORE, "quantile_ranges": {"quantiles": [0, 1], "value_ranges": [[1, 2]]}}, "quantile_ranges", "as"),
    (DIVERGENCE, {**TEXT, "partition_object": {"a": 1}}, "partition_object", "expected weights whose sum is 1"),
    (DIVERGENCE, {**TEXT, "partition_object": {"values": ["a"], "weights": "x"}}, "partition_object", "weights"),
    (UNIQUE, {**TEXT, "row_condition": "label ===="}, "row_condition", "pandas' query takes it (invalid"),
    (UNIQUE, {**TEXT, "row_condition": 3}, "row_condition", "expected a condition as pandas' query takes it"),
    (UNIQUE, {**TEXT, "row_condition": {"type": "comparison"}}, "row_condition", "expected "),
    (UNIQUE, {**TEXT, "row_condition": "label == @x"}, "row_condition", "pandas' query takes it (invalid"),
    (UNIQUE, {**TEXT, "row_condition": "label == 1 or label == 'x'"}, "row_condition", "that compares label with num"),
    (BETWEEN, {**TEXT, "min_value": "2024-1-1"}, "min_value", "a date as ISO 8601 writes it, such as 2024-01-31"),
    (BETWEEN, {**TEXT, "min_value": "2024-01-02", "max_value": "2024-01-01"}, "max_value", "at least min_value, which"),
    (ROWS, {QUERY: "SELECT * FROM rows"}, QUERY, "expected a query of {batch}, and no other braces"),
    (ROWS, {QUERY: "SELECT * FROM {batch} WHERE a = {b}"}, QUERY, "expected a query of {batch}, and no other braces"),
    (ROWS, {QUERY: "SELECT * FROM {batch"}, QUERY, "expected a query of {batch}"),
    (ROWS, {QUERY: 5}, QUERY, "expected a query of {batch}"),
    (ROWS, {}, "", "expected the argument 'unexpected_rows_query', which is missing"),
    # what is missing, and what does not go together
    (BETWEEN, {"min_value": 1}, "", "expected the argument 'column', which is missing"),
    (IN_SET, TEXT, "", "expected the argument 'value_set', which is missing"),
    (BETWEEN, SCORE, "", "min_value and max_value cannot both be None"),
    ("expect_table_row_count_to_be_between", {"min_value": 5, "max_value": 1}, "", "min_value (5) must be less"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "arguments", "place", "said"), FAULTS)
def test_what_an_argument_cannot_be_is_told_with_its_place(
    name: str, arguments: dict[str, Any], place: str, said: str
) -> None:
    ((at, message),) = told(name, arguments)
    assert at == place
    assert said in message
    assert message.startswith("expected ")


GOOD: list[tuple[str, dict[str, Any]]] = [
    *MET.items(),
    (BETWEEN, {**SCORE, "min_value": 1, "max_value": 1.5, "strict_min": True, "mostly": 0.9}),
    (BETWEEN, {**SCORE, "min_value": None, "max_value": 3, "mostly": 1}),
    (BETWEEN, {"column": "time", "min_value": "2020-01-01", "max_value": "2020-01-02T03:04:05"}),
    (LENGTHS, {**TEXT, "min_value": 3.0}),
    (IN_SET, {**TEXT, "value_set": [1, "a", None, True]}),
    (REGEXES, {**TEXT, "regex_list": ["a|b", r"\d+"], "match_on": "all"}),
    (QUANTILES, {**SCORE, "quantile_ranges": {"quantiles": [0, 1], "value_ranges": [[None, 2], [1.5, None]]}}),
    (DIVERGENCE, {**SCORE, "partition_object": {"bins": [0, 1, 2], "weights": [0.5, 0.5]}, "threshold": 0.1}),
    (UNIQUE, {**TEXT, "row_condition": '`label` == "1" and text != ""', "condition_parser": "pandas"}),
    (UNIQUE, {**TEXT, "severity": "warning", "meta": {"why": "a sum"}, "notes": "said by the lawyers"}),
    ("expect_column_values_to_be_in_type_list", {**TEXT, "type_list": ["str", "float64", "Timestamp", "Int64Dtype"]}),
]


@pytest.mark.parametrize(("name", "arguments"), GOOD)
def test_what_an_argument_can_be_passes(name: str, arguments: dict[str, Any]) -> None:
    if name == "expect_multicolumn_values_to_be_unique":
        arguments = {**arguments, "column": "text"}
    assert told(name, arguments) == []
    assert build(name, arguments)[0] is not None


def test_a_query_without_the_batch_prints_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    told(ROWS, {QUERY: "SELECT * FROM rows"})
    assert capsys.readouterr().out == ""  # Great Expectations would, into the JSON of `evertune validate`


def test_a_class_name_means_the_same_as_its_snake_case() -> None:
    found = crossed("ExpectColumnValuesToBeBetween", {**SCORE, "min_value": "abc"})
    assert [one.place[-1] for one in found] == ["min_value"]


def test_every_argument_is_told_at_once_and_what_stands_there() -> None:
    found = crossed(BETWEEN, {**SCORE, "min_value": "abc", "mostly": 7, "strict_min": "maybe"})
    assert {(one.place[-1], one.given) for one in found} == {
        ("min_value", "abc"),
        ("mostly", 7),
        ("strict_min", "maybe"),
    }


@pytest.mark.parametrize(
    ("name", "arguments"),
    [(5, {}), ("expect_x", {"a": 1}), (UNIQUE, {**TEXT, "no_such": 1}), (UNIQUE, 3), (UNIQUE, [3])],
)
def test_what_loading_the_file_tells_is_not_told_again(name: object, arguments: object) -> None:
    assert crossed(name, arguments) == []


def test_an_expectation_without_arguments_lacks_them() -> None:
    assert [one.message for one in crossed(UNIQUE, None)] == ["expected the argument 'column', which is missing"]
