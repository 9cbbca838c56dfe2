from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from evertune.project.across import across
from evertune.project.options import Project

from .conftest import MINIMAL, Faults, Write

DATA = {"sources": [{"constants": {"domain": "a"}}, {}], "columns": {"keep": ["channel"]}}


def _found(**blocks: Any) -> list[tuple[str | int, ...]]:
    return [found.place for found in across({"data": DATA, **blocks})]


def test_slices_are_columns_that_are_kept_or_constant() -> None:
    assert _found(evaluation={"slices": ["domain", "channel"]}) == []
    assert _found(evaluation={"slices": ["domain", "chanel"]}) == [("evaluation", "slices", 1)]


def test_one_address_has_one_hash() -> None:
    def of(*sources: tuple[str, object]) -> list[tuple[str | int, ...]]:
        asked = [{"uri": uri, "sha256": sha256} for uri, sha256 in sources]
        return [found.place for found in across({"data": {"sources": asked}})]

    one, two = "a" * 64, "b" * 64
    wheel = "wheel://a==1/b.csv"
    assert of((wheel, one), (wheel, one), (wheel, None), ("wheel://a==1/c.csv", two)) == []
    assert of((wheel, one), ("x.csv", two), (wheel, two)) == [("data", "sources", 2, "sha256")]
    assert of(("x.csv", one), ("./x.csv", two)) == [("data", "sources", 1, "sha256")]
    assert of((wheel, 5), (wheel, two)) == []


def test_two_hashes_of_one_address_are_told_with_both_places(faults: Faults) -> None:
    source = "    - uri: wheel://a==1/b.csv\n      sha256: "
    text = MINIMAL.replace("    - uri: tickets.csv\n", f"{source}{'a' * 64}\n{source}{'b' * 64}\n")
    (fault,) = faults(text)
    assert fault.where == "data.sources[1].sha256"
    assert text.splitlines()[fault.line - 1].endswith("b" * 64)
    assert "expected the sha256 of data.sources[0], aaaaaaaaaaaa…, because uri is the same" in fault.message


def test_expectations_name_columns_of_the_snapshot() -> None:
    def of(column: object, name: str = "expect_x") -> dict[str, Any]:
        return {"expectations": [{"name": name, "arguments": {"column": column}}]}

    for column in ("text", "label", "id", "domain", "channel", "target", 5, None):
        assert _found(validation=of(column)) == []
    assert _found(validation=of("chanel")) == [("validation", "expectations", 0, "arguments", "column")]
    assert _found(validation=of("chanel", "expect_column_to_exist")) == []


def test_every_column_that_an_expectation_names_is_looked_for() -> None:
    def of(name: str, **arguments: object) -> dict[str, Any]:
        return {"expectations": [{"name": name, "arguments": arguments}]}

    at = ("validation", "expectations", 0, "arguments")
    pair, several = "expect_column_pair_values_to_be_equal", "expect_compound_columns_to_be_unique"
    assert _found(validation=of(pair, column_A="text", column_B="chanel")) == [(*at, "column_B")]
    assert _found(validation=of(pair, column_A="txt", column_B="domain")) == [(*at, "column_A")]
    assert _found(validation=of(several, column_list=["text", "chanel", 5])) == [(*at, "column_list", 1)]
    assert _found(validation=of("expect_table_columns_to_match_ordered_list", column_list=["chanel"])) == []


def test_the_columns_of_a_row_condition_are_looked_for() -> None:
    def of(condition: object, parser: object = None) -> dict[str, Any]:
        arguments = {"column": "text", "row_condition": condition, "condition_parser": parser}
        return {"expectations": [{"name": "expect_column_values_to_be_unique", "arguments": arguments}]}

    at = ("validation", "expectations", 0, "arguments", "row_condition")
    assert _found(validation=of('domain == "a" and `channel` > 3 or sin(id) > 0')) == []
    assert _found(validation=of('domian == "a"')) == [at]
    assert _found(validation=of('domian == "a"', "pandas")) == [at]
    for other in (of('col("label") == "a"', "great_expectations"), of("label ==", []), of(["x"]), of({"type": "x"})):
        assert _found(validation=other) == []


def test_a_misspelt_column_of_a_condition_is_told_with_the_nearest_name(faults: Faults) -> None:
    text = (
        MINIMAL
        + "validation:\n  expectations:\n    - name: expect_column_values_to_be_unique\n"
        + '      arguments:\n        column: text\n        row_condition: lable == "a"\n'
    )
    (fault,) = faults(text)
    assert fault.where == "validation.expectations[0].arguments.row_condition"
    assert (fault.message, fault.hint) == ("expected a column of the snapshot; found 'lable'", "did you mean 'label'?")


def test_columns_that_are_one_in_sql_are_told() -> None:
    def of(name: str, *kept: str, **arguments: object) -> list[tuple[str | int, ...]]:
        data = {"columns": {"keep": list(kept)}}
        validation = {"expectations": [{"name": name, "arguments": arguments}]}
        return [found.place for found in across({"data": data, "validation": validation})]

    at = ("validation", "expectations", 0, "name")
    like, rows = "expect_column_values_to_match_like_pattern", "UnexpectedRowsExpectation"
    query = {"unexpected_rows_query": "SELECT * FROM {batch}"}
    assert of(rows, "score", **query) == []
    assert of(rows, "evertune_row", **query) == [at]
    assert of(rows, "Text", **query) == [at]
    assert of(like, "Text", "evertune_row", column="text", like_pattern="%") == []
    assert of(like, "Evertune_Row", column="Evertune_Row", like_pattern="%") == [at]
    assert of(like, "Text", column="text", like_pattern="%", row_condition="Text == 'a'") == [at]
    assert of("expect_column_values_to_be_unique", "evertune_row", column="evertune_row") == []


def test_expectations_name_their_own_arguments() -> None:
    def of(**arguments: object) -> dict[str, Any]:
        named = {"name": "expect_column_value_lengths_to_be_between", "arguments": arguments}
        return {"expectations": [named, {"name": "expect_nothing", "arguments": {"x": 1}}, {"name": 5}]}

    assert _found(validation=of(column="text", min_value=3, mostly=0.9)) == []
    assert _found(validation=of(column="text", min_val=3)) == [
        ("validation", "expectations", 0, "arguments", "min_val")
    ]
    assert _found(validation=of(column="text", result_format="BASIC")) != []


def test_a_misspelt_argument_is_told_with_its_line_and_the_nearest_name(faults: Faults) -> None:
    text = (
        MINIMAL
        + "validation:\n  expectations:\n    - name: expect_column_value_lengths_to_be_between\n"
        + "      arguments:\n        column: text\n        min_val: 3\n"
    )
    (fault,) = faults(text)
    assert "'min_val' is none" in fault.message
    assert "'min_value'" in fault.hint
    assert text.splitlines()[fault.line - 1].strip() == "min_val: 3"


def test_a_project_that_is_made_in_code_is_checked_too() -> None:
    good = {
        "schema_version": 1, "slug": "x", "owner": "me",
        "data": {"sources": [{"uri": "a.csv"}], "columns": {"text": "a", "label": "b"}},
    }  # fmt: skip
    Project.model_validate(good)
    with pytest.raises(ValidationError) as caught:
        Project.model_validate({**good, "evaluation": {"slices": ["c"]}})
    assert caught.value.errors()[0]["loc"] == ("evaluation", "slices", 0)


@pytest.mark.parametrize("wrong", [None, 5, "x", [], [5], {"columns": 5, "sources": 5}, {"columns": {"keep": 5}}])
def test_what_is_not_as_it_should_be_is_passed_over(wrong: object) -> None:
    list(across({"data": wrong, "evaluation": wrong, "validation": wrong}))


NESTED = st.recursive(
    st.none() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["data", "sources", "columns", "keep", "constants", "evaluation", "slices", "validation",
                         "expectations", "arguments", "column", "name"]), inner, max_size=4),
)  # fmt: skip


@given(st.dictionaries(st.sampled_from(["data", "evaluation", "validation"]), NESTED))
def test_any_document_can_be_asked(document: dict[str, Any]) -> None:
    list(across(document))


def test_nothing_is_told_of_slices_where_nobody_knows_the_columns(faults: Faults, write: Write) -> None:
    text = MINIMAL[: MINIMAL.index("data:")] + "evaluation: {slices: [x]}\n"
    assert [fault.where for fault in faults(text)] == ["data"]
