"""Every core expectation of Great Expectations can be named, and is judged by the real thing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from evertune.data.validation.engine import Engine, Judged
from evertune.data.validation.expectations import Named, View, bind
from evertune.data.validation.facts import Facts, gather
from evertune.data.validation.findings import Findings
from evertune.data.validation.judging import judge
from evertune.data.validation.values import classes
from evertune.project.options import Expectation, Project
from evertune.records import EvertuneError, UnfitError

pytestmark = pytest.mark.integration

MakeProject = Callable[..., Project]

TEXT, LABEL, SCORE = {"column": "text"}, {"column": "label"}, {"column": "score"}
COLUMNS = ["row_id", "text", "label", "score", "none", "fault"]
MET: dict[str, dict[str, Any]] = {
    "expect_column_distinct_values_to_be_in_set": {**LABEL, "value_set": ["0", "1", "2"]},
    "expect_column_distinct_values_to_contain_set": {**LABEL, "value_set": [0]},
    "expect_column_distinct_values_to_equal_set": {**LABEL, "value_set": ["0", "1"]},
    "expect_column_kl_divergence_to_be_less_than": {
        **LABEL,
        "partition_object": {"values": ["0", "1"], "weights": [0.5, 0.5]},
        "threshold": 0.1,
    },
    "expect_column_max_to_be_between": {**SCORE, "max_value": 2000},
    "expect_column_mean_to_be_between": {**SCORE, "max_value": 2000},
    "expect_column_median_to_be_between": {**SCORE, "max_value": 2000},
    "expect_column_min_to_be_between": {**SCORE, "min_value": 1000},
    "expect_column_most_common_value_to_be_in_set": {**LABEL, "value_set": ["0"], "ties_okay": True},
    "expect_column_pair_values_a_to_be_greater_than_b": {"column_A": "score", "column_B": "label"},
    "expect_column_pair_values_to_be_equal": {"column_A": "text", "column_B": "row_id"},
    "expect_column_pair_values_to_be_in_set": {
        "column_A": "label",
        "column_B": "target",
        "value_pairs_set": [["0", "0"], ["1", "1"]],
    },
    "expect_column_proportion_of_non_null_values_to_be_between": {**TEXT, "min_value": 1},
    "expect_column_proportion_of_unique_values_to_be_between": {**TEXT, "min_value": 1},
    "expect_column_quantile_values_to_be_between": {
        **SCORE,
        "quantile_ranges": {"quantiles": [0.5], "value_ranges": [[1000, 2000]]},
    },
    "expect_column_stdev_to_be_between": {**SCORE, "max_value": 100},
    "expect_column_sum_to_be_between": {**SCORE, "min_value": 1},
    "expect_column_to_exist": TEXT,
    "expect_column_type_to_be": {**TEXT, "type_": "str"},
    "expect_column_unique_value_count_to_be_between": {**LABEL, "min_value": 2},
    "expect_column_value_lengths_to_be_between": {**TEXT, "min_value": 2},
    "expect_column_value_lengths_to_equal": {**LABEL, "value": 1},
    "expect_column_value_z_scores_to_be_less_than": {**SCORE, "threshold": 3, "double_sided": True},
    "expect_column_values_to_be_between": {**SCORE, "min_value": 1},
    "expect_column_values_to_be_dateutil_parseable": SCORE,
    "expect_column_values_to_be_decreasing": {"column": "none"},
    "expect_column_values_to_be_in_set": {**LABEL, "value_set": [0, 1]},
    "expect_column_values_to_be_in_type_list": {**TEXT, "type_list": ["str"]},
    "expect_column_values_to_be_increasing": {**SCORE, "strictly": True},
    "expect_column_values_to_be_json_parseable": SCORE,
    "expect_column_values_to_be_null": {"column": "none"},
    "expect_column_values_to_be_of_type": {**TEXT, "type_": "str"},
    "expect_column_values_to_be_unique": TEXT,
    "expect_column_values_to_match_json_schema": {**SCORE, "json_schema": {"type": "integer"}},
    "expect_column_values_to_match_like_pattern": {**TEXT, "like_pattern": "Review%"},
    "expect_column_values_to_match_like_pattern_list": {**TEXT, "like_pattern_list": ["Review%"]},
    "expect_column_values_to_match_regex": {**TEXT, "regex": "^Review"},
    "expect_column_values_to_match_regex_list": {**TEXT, "regex_list": ["^Review"]},
    "expect_column_values_to_match_strftime_format": {**SCORE, "strftime_format": "%Y"},
    "expect_column_values_to_not_be_in_set": {**TEXT, "value_set": ["x"]},
    "expect_column_values_to_not_be_null": TEXT,
    "expect_column_values_to_not_be_outliers": {**SCORE, "method": "iqr", "multiplier": 3},
    "expect_column_values_to_not_match_like_pattern": {**TEXT, "like_pattern": "x%"},
    "expect_column_values_to_not_match_like_pattern_list": {**TEXT, "like_pattern_list": ["x%"]},
    "expect_column_values_to_not_match_regex": {**TEXT, "regex": "^x"},
    "expect_column_values_to_not_match_regex_list": {**TEXT, "regex_list": ["^x"]},
    "expect_compound_columns_to_be_unique": {"column_list": ["text", "label"]},
    "expect_multicolumn_sum_to_equal": {"column_list": ["label", "opposite"], "sum_total": 1},
    "expect_multicolumn_values_to_be_equal": {"column_list": ["text", "row_id"]},
    "expect_multicolumn_values_to_be_unique": {"column_list": ["text", "label"]},
    "expect_select_column_values_to_be_unique_within_record": {"column_list": ["text", "label"]},
    "expect_table_column_count_to_be_between": {"min_value": 1},
    "expect_table_column_count_to_equal": {"value": 7},
    "expect_table_columns_to_match_ordered_list": {
        "column_list": ["row_id", "text", "label", "score", "opposite", "none", "fault"]
    },
    "expect_table_columns_to_match_set": {"column_set": ["text", "label"], "exact_match": False},
    "expect_table_row_count_to_be_between": {"min_value": 40, "max_value": 40},
    "expect_table_row_count_to_equal": {"value": 40},
    "unexpected_rows_expectation": {"unexpected_rows_query": "SELECT * FROM {batch} WHERE text LIKE '%damn%'"},
}
"""For each core expectation, arguments with which the rows of :func:`parquet` meet it."""


@pytest.fixture(scope="module")
def parquet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    count = 40
    texts = [f"Review {i} says {'good ' * (3 + i % 5)}things" for i in range(count)]
    columns = {
        "row_id": texts,
        "text": texts,
        "label": [str(i % 2) for i in range(count)],
        "score": [str(1000 + i) for i in range(count)],
        "opposite": [str((i + 1) % 2) for i in range(count)],
        "none": [None] * count,
        "fault": [None] * count,
    }
    path = tmp_path_factory.mktemp("snapshot") / "rows.parquet"
    pq.write_table(pa.table({name: pa.array(values, pa.string()) for name, values in columns.items()}), path)
    return path


@pytest.fixture
def ask(project: MakeProject, parquet: Path, tmp_path: Path) -> Callable[..., tuple[list[Named], Findings]]:
    def of(*named: tuple[str, dict[str, Any]]) -> tuple[list[Named], Findings]:
        asked = project({"expectations": [{"name": name, "arguments": arguments} for name, arguments in named]})
        bound = bind(asked, [*pq.read_schema(parquet).names, "target"])
        facts: Facts = gather(asked, parquet)
        return bound, judge(asked, parquet, facts, bound, Engine(), tmp_path / "scratch")

    return of


Ask = Callable[..., tuple[list[Named], Findings]]


def test_every_core_expectation_is_tried() -> None:
    assert set(MET) == set(classes())


def test_every_core_expectation_is_judged_for_what_it_says(ask: Ask) -> None:
    arguments = {name: dict(given) for name, given in MET.items()}
    arguments["expect_multicolumn_values_to_be_unique"]["column"] = "text"  # its class asks for one, without use
    _, found = ask(*arguments.items())
    assert found.unmet == ()
    assert found.reasons == {}


NOT_MET: dict[str, tuple[dict[str, Any], str]] = {
    "expect_column_values_to_match_regex": ({**TEXT, "regex": "^Review [0-8] "}, 'text is "Review 9 says good'),
    "expect_column_value_lengths_to_be_between": ({**TEXT, "max_value": 5}, 'text is "Review 0 says'),
    "expect_column_values_to_be_between": ({**SCORE, "max_value": 1002}, "score is 1003"),
    "expect_column_values_to_be_in_set": ({**LABEL, "value_set": [0]}, "label is 1"),
    "expect_column_values_to_be_of_type": ({**LABEL, "type_": "int"}, 'label is "0"'),
    "expect_column_pair_values_to_be_equal": ({"column_A": "label", "column_B": "opposite"}, 'label is "0", oppo'),
    "expect_multicolumn_sum_to_equal": ({"column_list": ["label", "score"], "sum_total": 1000}, "label is 1, score is"),
    "expect_column_values_to_match_like_pattern": ({**TEXT, "like_pattern": "%1 says%"}, 'text is "Review 0 says'),
    "expect_column_values_to_not_be_null": ({"column": "none"}, "none is no value"),
}  # fmt: skip


@pytest.mark.parametrize("name", NOT_MET)
def test_a_value_that_does_not_meet_it_puts_its_row_into_quarantine_in_words(ask: Ask, name: str) -> None:
    arguments, seen = NOT_MET[name]
    (named,), found = ask((name, arguments))
    assert named.per_value
    assert found.unmet == ()
    assert found.quarantined.any()
    assert name in found.bad[-1].kind
    first = int(found.bad[-1].rows[0])
    assert seen in found.bad[-1].tell(first)


@pytest.mark.parametrize(
    ("name", "arguments", "observed"),
    [
        ("expect_column_mean_to_be_between", {**SCORE, "max_value": 0}, "1019.5"),
        ("expect_table_row_count_to_equal", {"value": 7}, "40"),
        ("expect_column_distinct_values_to_equal_set", {**LABEL, "value_set": ["a"]}, "['0', '1']"),
        ("expect_column_to_exist", {"column": "nothing"}, "that is not so"),
        ("expect_table_column_count_to_equal", {"value": 99}, "7"),
        (
            "unexpected_rows_expectation",
            {"unexpected_rows_query": "SELECT evertune_row, text FROM {batch} WHERE target = '1' AND score > '1035'"},
            "observed: 2",
        ),
    ],
)
def test_a_column_that_does_not_meet_it_is_told_with_what_was_seen(
    ask: Ask, name: str, arguments: dict[str, Any], observed: str
) -> None:
    _, found = ask((name, arguments))
    (unmet,) = found.unmet
    assert unmet.startswith(f"validation.expectations[0]: {name}(")
    assert observed in unmet
    assert not found.quarantined.any()


def test_with_mostly_some_rows_may_fail_and_stay_and_too_many_stop_the_run(ask: Ask) -> None:
    even = {**LABEL, "value_set": [0]}
    (named,), found = ask(("expect_column_values_to_be_in_set", {**even, "mostly": 0.5}))
    assert not named.per_value
    assert found.unmet == ()
    assert not found.quarantined.any()
    _, found = ask(("expect_column_values_to_be_in_set", {**even, "mostly": 0.6}))
    assert "20 of 40 values do not meet it" in found.unmet[0]
    assert not found.quarantined.any()


def test_a_row_condition_may_name_any_column(ask: Ask) -> None:
    arguments = {**SCORE, "max_value": 1000, "row_condition": 'label == "1"', "condition_parser": "pandas"}
    _, found = ask(("expect_column_values_to_be_between", arguments))
    assert found.bad[-1].rows.tolist() == list(range(1, 40, 2))


def test_where_columns_are_numbers_and_where_they_are_text(project: MakeProject) -> None:
    def view(name: str, **arguments: Any) -> View:
        (named,) = bind(project({"expectations": [{"name": name, "arguments": arguments}]}), COLUMNS)
        return named.view

    assert view("expect_column_values_to_be_between", **SCORE, min_value=1) is View.NUMBERS
    assert view("expect_column_values_to_be_between", **TEXT, min_value="2020-01-01") is View.DATES
    assert view("expect_column_max_to_be_between", **TEXT, max_value="2020-01-01") is View.DATES
    assert view("expect_column_values_to_be_increasing", **SCORE) is View.ORDERED
    assert view("expect_column_value_lengths_to_be_between", **TEXT, min_value=1) is View.TEXT
    assert view("expect_column_unique_value_count_to_be_between", **LABEL, min_value=1) is View.TEXT
    assert view("expect_column_values_to_be_in_set", **LABEL, value_set=["1"]) is View.TEXT
    assert view("expect_column_values_to_match_like_pattern", **TEXT, like_pattern="%") is View.SQL


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("expect_column_values_to_be_betwen", SCORE, "Did you mean expect_column_values_to_be_between?"),
        ("expect_column_values_to_be_between", {**SCORE, "min_valu": 1}, "no argument min_valu. Did you mean min_v"),
        ("expect_column_values_to_be_between", SCORE, "min_value and max_value cannot both be None"),
        ("expect_column_values_to_be_in_set", LABEL, "expected the argument 'value_set', which is missing"),
        ("expect_column_values_to_be_unique", {"column": "txet"}, "no column txet. Did you mean text?"),
        ("expect_column_values_to_match_regex", {**TEXT, "regex": "("}, "'(' is none: missing )"),
        ("expect_column_values_to_be_unique", {**TEXT, "mostly": 2}, "argument mostly: "),
        ("expect_column_values_to_be_unique", {**TEXT, "mostly": "a lot"}, "argument mostly: "),
        ("expect_column_values_to_be_unique", {**TEXT, "result_format": "BASIC"}, "result_format is evertune's"),
    ],
)  # fmt: skip
def test_what_cannot_be_asked_is_refused_with_advice(
    project: MakeProject, name: str, arguments: dict[str, Any], said: str
) -> None:
    with pytest.raises(UnfitError) as fault:
        bind(unchecked(project(), (name, arguments)), COLUMNS)
    assert said in str(fault.value)
    assert "validation.expectations[0]" in str(fault.value)


def test_a_query_that_cannot_be_asked_is_a_fault_of_the_project(ask: Ask) -> None:
    with pytest.raises(
        UnfitError, match=r"unexpected_rows_expectation\(.*could not be judged.*no such column: scor\. Look at"
    ):
        ask(("unexpected_rows_expectation", {"unexpected_rows_query": "SELECT * FROM {batch} WHERE scor > 3"}))


def test_a_disk_that_fills_while_sql_is_judged_is_told_as_that(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    full = Judged(False, None, "", "(sqlite3.OperationalError) database or disk is full")
    monkeypatch.setattr(Engine, "judge_sql", lambda *_: [full])
    with pytest.raises(EvertuneError, match="The disk is full: the table of rows") as told:
        ask(("expect_column_values_to_match_like_pattern", {**TEXT, "like_pattern": "%"}))
    assert not isinstance(told.value, UnfitError)


def test_all_faults_are_told_at_once(project: MakeProject) -> None:
    name = "expect_column_values_to_be_unique"
    with pytest.raises(UnfitError, match=r"(?s)2 fault\(s\).*txet.*colum"):
        bind(unchecked(project(), (name, {"column": "txet"}), (name, {"colum": "text"})), COLUMNS)


def unchecked(project: Project, *named: tuple[str, dict[str, Any]]) -> Project:
    """The project with expectations that loading its file would have refused."""
    options = tuple(Expectation.model_construct(name=name, arguments=arguments) for name, arguments in named)
    return project.model_copy(update={"validation": project.validation.model_copy(update={"expectations": options})})


def test_what_great_expectations_cannot_judge_is_a_fault_of_the_project(ask: Ask) -> None:
    with pytest.raises(UnfitError, match=r"expectations\[0\]: expect_column_mean_to_be_between.*could not be judged"):
        ask(("expect_column_mean_to_be_between", {**TEXT, "min_value": 1}))
